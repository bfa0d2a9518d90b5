"""What can be chosen per layer: one folder a component, each with its slots, costs and coordinates."""
