"""Compression to a size or a latency: one file a step, and the job that does them all."""

from rankadaptor.pipeline.compression.call import Compressed, compress
from rankadaptor.pipeline.compression.job import run_compression

__all__ = ["Compressed", "compress", "run_compression"]
