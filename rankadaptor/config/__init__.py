"""The run file: read into one frozen object, with all faults listed at once, and identified by a digest."""

from rankadaptor.config.loading import build_run, dump_run, guess_name, load_run
from rankadaptor.config.run import RunConfig, describe_difference
from rankadaptor.config.steps import digest_steps
from rankadaptor.config.template import write_template

__all__ = [
    "RunConfig",
    "build_run",
    "describe_difference",
    "digest_steps",
    "dump_run",
    "guess_name",
    "load_run",
    "write_template",
]
