"""Recoveries of a dense model for one type: rounded afterwards, or trained through the rounding."""
