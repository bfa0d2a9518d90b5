"""Running a job of any kind, and showing its plan or its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rankadaptor.cli.logs import start_logging

if TYPE_CHECKING:
    from rankadaptor.config import CompressConfig, ElasticConfig, RunConfig

    Job = RunConfig | CompressConfig | ElasticConfig


def run_and_show(config: Job, *, fresh: bool, verbose: bool) -> None:
    """Run a job and show its result."""
    start_logging(verbose=verbose)
    from rankadaptor.planning import check_job

    check_job(config, fresh=fresh)  # before torch is imported
    from rankadaptor.pipeline import run_job

    output = Path(config.output)
    document = run_job(config, output=output, fresh=fresh)
    from rankadaptor.cli.results import show_result

    show_result(document, place=output)


def plan_and_show(config: Job, *, measure: bool, as_json: bool) -> None:
    """Show what a job would do and cost, as tables or as JSON."""
    from rankadaptor.planning import Plan, estimate_job

    plan = estimate_job(config, measure=measure)
    if as_json:
        typer.echo(json.dumps(plan.to_json(), indent=2))
        return
    from rankadaptor.cli.plans import show_plan_table, show_text_job_plan

    if isinstance(plan, Plan):
        show_plan_table(plan)
    else:
        show_text_job_plan(plan)
