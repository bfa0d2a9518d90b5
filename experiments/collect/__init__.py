"""Settings of the corpus, and further measurements in them."""
