"""Whole jobs from a run file: experiments and corpus collection."""

from rankadaptor.pipeline.collection import collect_records
from rankadaptor.pipeline.experiment import run_experiment

__all__ = ["collect_records", "run_experiment"]
