"""The paper's own claim, tested with repeats."""
