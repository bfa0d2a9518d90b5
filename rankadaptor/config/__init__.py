"""The run file: read into one frozen object, with all faults listed at once, and identified by a digest."""

from rankadaptor.config.compress import CompressConfig
from rankadaptor.config.elastic import ElasticConfig
from rankadaptor.config.job import JobConfig, describe_difference
from rankadaptor.config.loading import (
    build_compression,
    build_elastic,
    build_run,
    dump_run,
    guess_name,
    load_job,
    load_run,
)
from rankadaptor.config.run import RunConfig
from rankadaptor.config.steps import digest_steps
from rankadaptor.config.template import write_template

__all__ = [
    "CompressConfig",
    "ElasticConfig",
    "JobConfig",
    "RunConfig",
    "build_compression",
    "build_elastic",
    "build_run",
    "describe_difference",
    "digest_steps",
    "dump_run",
    "guess_name",
    "load_job",
    "load_run",
    "write_template",
]
