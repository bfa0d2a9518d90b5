"""The elastic job: a super-network is trained once and searched."""

from __future__ import annotations

from rankadaptor.pipeline.elastic.job import run_elastic

__all__ = ["run_elastic"]
