"""How many evaluations searches need: regret over evaluations and tokens, on held-out settings."""
