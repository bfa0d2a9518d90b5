"""Plans of all kinds of jobs on stdout: their steps, costs and assumptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rankadaptor.methods import find_method
from rankadaptor.progress import format_seconds

if TYPE_CHECKING:
    from rankadaptor.planning import Plan, TextJobPlan


def show_plan_table(plan: Plan) -> None:
    """Show the plan of a rank search and its cost."""
    console = Console()
    _show_steps(
        console,
        plan,
        f"{plan.parameters:,} parameters, about {plan.pruned_parameters:,} after pruning; "
        f"{find_method(plan.method).title} adapters of {plan.adapter_parameters:,} in {plan.slots} slots",
    )
    _show_assumptions(console, plan.assumptions)


def show_text_job_plan(plan: TextJobPlan) -> None:
    """Show what a compression or an elastic job will do and cost, its space, and measured speeds."""
    console = Console()
    _show_steps(console, plan, f"{plan.parameters:,} parameters; limits: {plan.limits}")
    space = Table("space", "", box=None, pad_edge=False)
    for name, value in plan.space.items():
        space.add_row(name, value)
    console.print(space)
    if plan.latency:
        speeds = Table(*plan.latency[0], box=None, pad_edge=False)
        for row in plan.latency:
            speeds.add_row(
                *(f"{value:,.1f}" if isinstance(value, float) else str(value) for value in row.values())
            )
        console.print(speeds)
    elif plan.measures_speed:
        console.print("· the engine's speeds by type are measured when a latency is limited", style="dim")
    _show_assumptions(console, plan.assumptions)


def _show_steps(console: Console, plan: Plan | TextJobPlan, size: str) -> None:
    """Show which run it is, how large its model is, and its steps with their sum."""
    console.print(f"{plan.name} ({plan.digest}) → {plan.output}\n{size}", highlight=False)
    table = Table("step", "what", box=None, pad_edge=False)
    for heading in ("runs", "tokens", "memory", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for step in plan.steps:
        time = "done" if step.done else format_seconds(step.seconds)
        table.add_row(
            step.name,
            step.what,
            str(step.runs or ""),
            _shorten(step.tokens),
            _write_bytes(step.peak_bytes),
            time,
        )
    table.add_section()
    table.add_row(
        "all",
        "what is left" if plan.seconds_left < plan.seconds else "",
        str(plan.runs),
        _shorten(plan.tokens),
        _write_bytes(plan.peak_bytes),
        format_seconds(plan.seconds_left),
        style="bold",
    )
    console.print(table)


def _show_assumptions(console: Console, assumptions: Iterable[str]) -> None:
    for assumption in assumptions:
        console.print(f"· {assumption}", highlight=False, style="dim")


def _shorten(count: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)


def _write_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
