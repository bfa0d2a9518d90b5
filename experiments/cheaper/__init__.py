"""Cheap measures of allocations against full length, in settings of the corpus."""
