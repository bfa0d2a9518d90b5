"""What the jobs on text divided by document, `compress` and `elastic`, have in common."""
