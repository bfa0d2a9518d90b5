"""How many evaluations searches need: regret over evaluations and tokens, on settings held out of training."""
