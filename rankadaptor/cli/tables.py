"""Tables of benchmarks, predictors, checks and repetitions on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rankadaptor.doctor import Check
    from rankadaptor.pipeline.repetition import Repetition

LOG_WIDTH = 120  # columns where the output is no terminal, whose own width is used
STATES = {"ok": "green", "note": "yellow", "missing": "red"}


def open_console() -> Console:
    """Open stdout, as wide as the terminal or as a line of a log."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


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
    open_console().print(table)


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
