"""Settings of the corpus, and what is measured in them beside their records."""
