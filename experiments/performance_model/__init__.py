"""Benchmark of performance models on records of slices."""
