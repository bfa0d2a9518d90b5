"""The table that `rankadaptor advise` answers from, made from the kept results."""
