"""Results as tables on stdout."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rankadaptor.methods import find_method
from rankadaptor.progress import format_seconds
from rankadaptor.tracking import tell_viewing

if TYPE_CHECKING:
    from rankadaptor.doctor import Check
    from rankadaptor.pipeline.repetition import Repetition
    from rankadaptor.planning import Plan, TextJobPlan

LOG_WIDTH = 120  # columns where the output is no terminal, whose own width is used
STATES = {"ok": "green", "note": "yellow", "missing": "red"}


def show_plan_table(plan: Plan) -> None:
    """Show the plan of a run and its cost."""
    console = Console()
    console.print(
        f"{plan.name} ({plan.digest}) → {plan.output}\n"
        f"{plan.parameters:,} parameters, about {plan.pruned_parameters:,} after pruning; "
        f"{find_method(plan.method).title} adapters of {plan.adapter_parameters:,} in {plan.slots} slots",
        highlight=False,
    )
    console.print(build_steps_table(plan))
    for assumption in plan.assumptions:
        console.print(f"· {assumption}", highlight=False, style="dim")


def build_steps_table(plan: Plan | TextJobPlan) -> Table:
    """Build the table of a plan's steps, with their sum."""
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
    return table


def show_result(document: Mapping[str, Any], *, place: Path) -> None:
    """Show a run's losses, a short verdict and the paths of its files.

    Args:
        document: The result document.
        place: The run's folder, whose files and next commands are shown, or the path of the report.
    """
    from rankadaptor.report import render_console
    from rankadaptor.results import explain_outcome
    from rankadaptor.results.scores import FEWEST_ITEMS

    console = Console()
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    console.print(render_console(document))
    if not place.is_dir():
        console.print(f"report: {place}", highlight=False, soft_wrap=True)
        return
    recommended = explain_outcome(document).recommended
    written = {
        "report": place / "report.html",
        "recommended adapter": place / "adapters" / recommended,
        "pruned model": place / "pruned",
        "every trial": place / "records.jsonl",
        "result": place / "result.json",
    }
    lines = [f"{name:20} {path}" for name, path in written.items() if path.exists()]
    lines += [
        "",
        "Next:",
        f"  rankadaptor evaluate {shlex.quote(str(place / 'run.yaml'))} --set evaluate.limit={FEWEST_ITEMS}",
    ]
    track = document["run"]["config"]["track"]
    if track["enabled"]:
        lines.append(f"  {tell_viewing(track['uri'])}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


def show_scores(scores: Mapping[str, Any]) -> None:
    """Show benchmark accuracies, one row a model."""
    models: Mapping[str, Mapping[str, Any]] = scores["models"]
    names = list(
        dict.fromkeys(
            name for summary in models.values() for name in summary if "metric" in _row(summary, name)
        )
    )
    table = Table("model", box=None, pad_edge=False)
    for name in [*names, "mean"]:
        table.add_column(name, justify="right", no_wrap=True)
    for model, summary in models.items():
        mean = _write_accuracy(
            {"accuracy": summary["mean"], "standard_error": summary["mean_standard_error"]}
        )
        table.add_row(model, *(_write_accuracy(summary.get(name)) for name in names), mean)
    Console().print(table)
    from rankadaptor.results.scores import explain_few_items

    if few := explain_few_items(models):
        Console().print(few, highlight=False)


def show_contest(rows: Sequence[Mapping[str, Any]]) -> None:
    """Show, for each predictor, the share of the noise ceiling after each number of records."""
    from rankadaptor.predictor.contest import average_rows

    signal = True if any(row["signal"] for row in rows) else None
    averages = average_rows([{**row, "held_out": False} for row in rows], signal=signal)
    counts = sorted({entry["records"] for entry in averages})
    table = Table("predictor", box=None, pad_edge=False)
    for count in counts:
        table.add_column(f"{count} records", justify="right", no_wrap=True)
    for name in dict.fromkeys(entry["predictor"] for entry in averages):
        cells = {entry["records"]: entry for entry in averages if entry["predictor"] == name}
        table.add_row(name, *(_write_agreement(cells.get(count)) for count in counts))
    where = "settings with signal" if signal else "all settings: none has repeats that show signal"
    Console(width=LOG_WIDTH).print(
        table,
        f"Kendall τ (share of the ceiling · coverage of 90 % intervals), mean over {where}",
        highlight=False,
    )


def _write_agreement(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    share = "–" if entry["kendall_ratio"] is None else f"{entry['kendall_ratio']:.2f}"
    return f"{entry['kendall']:.2f} ({share} · {entry['coverage90']:.2f})"


def show_checks(checks: Sequence[Check]) -> None:
    """Show the checks of `doctor`."""
    table = Table("state", "what", box=None, pad_edge=False)
    for heading in ("found", "next"):
        table.add_column(heading, overflow="fold")  # addresses are never cut
    for check in checks:
        texts = (escape(text) for text in (check.name, check.found, check.remedy))
        table.add_row(f"[{STATES[check.state]}]{check.state}[/]", *texts)
    console = Console()
    (console if console.is_terminal else Console(width=LOG_WIDTH)).print(table)


def show_repetitions(repeated: Sequence[Repetition]) -> None:
    """Show stored and repeated losses of records."""
    table = Table("seed", "steps", "stored", "again", "difference", "", box=None, pad_edge=False)
    for one in repeated:
        numbers = [
            "failed" if value is None else f"{value:{form}}"
            for value, form in ((one.record.loss, ".6f"), (one.loss, ".6f"), (one.difference, "+.1e"))
        ]
        mark = "[green]same[/]" if one.agrees else "[red]differs[/]"
        table.add_row(str(one.record.seed), str(one.record.steps), *numbers, mark)
    Console().print(table)


def _row(summary: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    entry = summary[name]
    return entry if isinstance(entry, Mapping) else {}


def _write_accuracy(entry: Mapping[str, Any] | None) -> str:
    """Write accuracy and standard error in points."""
    if entry is None:
        return ""
    error = entry["standard_error"]
    return f"{100 * entry['accuracy']:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


def _shorten(count: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)


def _write_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
