"""Base models of the corpus: training from scratch, or pruning and healing."""
