"""Speed, memory and cost of the trial engine: docs/engine.md."""
