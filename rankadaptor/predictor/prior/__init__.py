"""Hierarchical Gaussian prior over gains: fitted on a corpus, conditioned on the records of a search."""
