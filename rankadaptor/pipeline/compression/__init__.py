"""Compression to a size or a latency: one file a step, and the job that does them all."""

from rankadaptor.pipeline.compression.job import run_compression

__all__ = ["run_compression"]
