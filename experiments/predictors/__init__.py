"""All predictors judged on the corpus, for docs/predictors.md and docs/what-to-expect.md."""
