"""Benchmark of all predictors on the corpus, for docs/predictors.md and docs/what-to-expect.md."""
