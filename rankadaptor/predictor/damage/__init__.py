"""Linear models of ln D, the logarithm of an allocation's damage, around the sum of its slot values."""
