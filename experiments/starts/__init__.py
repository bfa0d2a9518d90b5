"""What each way of beginning an adapter adds at uniform ranks."""
