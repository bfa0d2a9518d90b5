"""Predictors that learn one setting from scratch, for comparison and as members of the ensemble."""
