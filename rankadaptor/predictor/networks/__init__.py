"""Neural performance models: the perceptrons of the paper, trained from scratch or meta-learned."""
