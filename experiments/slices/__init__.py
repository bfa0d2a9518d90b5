"""What a score without training costs, and how exactly latency is planned, on a real model."""
