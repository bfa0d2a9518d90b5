"""The other methods of recovery on a live model: PEFT's, bottleneck adapters, and the weights themselves."""

from rankadaptor.components.adapter.tuners.attach import attach_method
from rankadaptor.components.adapter.tuners.merging import merge_trained

__all__ = ["attach_method", "merge_trained"]
