"""The summary of a run on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankadaptor.errors import InputError
from rankadaptor.results import Document, Table, explain_outcome
from rankadaptor.results.overview import describe_predictor
from rankadaptor.results.scores import build_accuracy_table, build_loss_table, explain_few_items

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable

STYLES = {"better": "green", "worse": "red", "no difference": "yellow", "no verdict": "yellow"}


def render_console(document: Document) -> RenderableType:
    """Render losses, accuracies and verdict of a run for a terminal; print it with `rich.console.Console`.

    The verdict is short: the recommendation, what was measured at which length, and the predictor. The
    report has the details.
    """
    from rich.console import Group
    from rich.text import Text

    outcome = explain_outcome(document)
    few = explain_few_items((document.get("result") or {}).get("benchmarks") or {})
    parts: list[RenderableType] = []
    for build in (build_loss_table, build_accuracy_table):
        if few and build is build_accuracy_table:
            parts += [Text(f"Benchmarks: {few}"), Text()]
            continue
        try:
            parts += [render_table(build(document)), Text()]
        except InputError as error:
            parts += [Text(str(error), style="dim"), Text()]
    words = [outcome.advice, *outcome.evidence]
    if predictor := describe_predictor(document):
        words.append(f"Predictor: {predictor}.")
    return Group(*parts, render_verdict(outcome.word, outcome.headline, words))


def render_verdict(word: str, headline: str, sentences: Sequence[str]) -> RenderableType:
    """Render a verdict as a panel in the colour of its word."""
    from rich.panel import Panel
    from rich.text import Text

    return Panel(
        Text(" ".join(sentences)), title=Text(headline), title_align="left", border_style=STYLES[word]
    )


def render_table(table: Table) -> RichTable:
    """Render a table for a terminal."""
    from rich.table import Table as RichTable

    shown = RichTable(
        title=table.title, title_justify="left", box=None, pad_edge=False, caption_justify="left"
    )
    for index, name in enumerate(table.header):
        shown.add_column(name, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in table.rows:
        shown.add_row(*row)
    return shown
