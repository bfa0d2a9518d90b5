"""What larger models need, and how well the cost model does here: docs/scale.md."""
