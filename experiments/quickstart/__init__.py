"""The quickstart: its run file, what its search hands over, and the parts of documents that show it."""
