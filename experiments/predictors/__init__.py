"""All predictors judged on the corpus: the tables and figures of docs/predictors.md and the README."""
