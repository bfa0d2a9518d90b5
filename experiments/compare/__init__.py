"""Ways of choosing ranks, compared on one setting at equal adapter parameters and equal cost."""
