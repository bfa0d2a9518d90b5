"""Compare cheap measures of allocations with full-length fine-tunes, in settings of the corpus."""
