"""The smallest adapter that is shown not to be worse than uniform."""
