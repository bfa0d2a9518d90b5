"""Tests of the recovery study."""
