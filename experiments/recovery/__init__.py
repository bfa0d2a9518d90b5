"""Study of recoveries: rates, losses, methods and lengths on pruned models, one training at a time."""
