"""Base models of the corpus: how they are trained, or cut and healed."""
