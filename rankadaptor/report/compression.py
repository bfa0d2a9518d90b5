"""The report of a compression: one HTML page, and its end on the terminal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rankadaptor.report.console import render_table, render_verdict
from rankadaptor.report.page_parts import Part, build_part, describe_run, draw_parts, load_template
from rankadaptor.results import Document, Table
from rankadaptor.results.choice import build_choice_table
from rankadaptor.results.compression import (
    build_costs_table,
    build_effort_table,
    build_finalists_table,
    build_layers_table,
    build_points_table,
    build_ranks_table,
    build_verdict_table,
    explain_compression,
    find_sample,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

TEMPLATE = "compression.html.j2"
TABLES: Mapping[str, Callable[[Document], Table]] = {
    "points": build_points_table,
    "costs": build_costs_table,
    "verdict": build_verdict_table,
    "choice": build_choice_table,
    "finalists": build_finalists_table,
    "ranks": build_ranks_table,
    "layers": build_layers_table,
    "effort": build_effort_table,
}


def render_compression(document: Document) -> str:
    """Render the report of a compression as one HTML text without any outside reference."""
    word, headline, sentences = explain_compression(document)
    page: str = load_template(TEMPLATE).render(
        **describe_run(document),
        sample=find_sample(document),
        ranked=bool(document["result"].get("ranks")),
        word=word,
        headline=headline,
        sentences=sentences,
        tables={name: build_part(name, build, document) for name, build in TABLES.items()},
        figures=_draw(document),
    )
    return page


def render_compression_console(document: Document) -> RenderableType:
    """Render the files, the costs and the verdict of a compression for a terminal."""
    from rich.console import Group
    from rich.text import Text

    return Group(
        render_table(build_points_table(document)),
        Text(),
        render_table(build_costs_table(document)),
        Text(),
        render_verdict(*explain_compression(document)),
        *_render_sample(document),
    )


def _render_sample(document: Document) -> list[RenderableType]:
    from rich.text import Text

    sample = find_sample(document)
    if sample is None:
        return []
    text = Text.assemble(
        ("What the file writes, in llama.cpp: ", "bold"), sample["prompt"], (sample["continuation"], "italic")
    )
    return [Text(), text]


def _draw(document: Document) -> dict[str, Part]:
    from rankadaptor import plots

    every = "Every file that was measured; the star is this result, the dashed line the dense model. "
    drawings: dict[str, tuple[Callable[..., Figure], str]] = {
        "sizes": (plots.plot_sizes, f"{every}Further left is smaller, lower is better."),
        "sizes_other": (
            functools.partial(plots.plot_sizes, part="other"),
            "The same on text of another domain, which nothing was trained or chosen on.",
        ),
        "speeds": (plots.plot_speeds, f"{every}Further right is faster, lower is better."),
        "layers": (
            plots.plot_layers,
            "What is kept of every layer, coloured by its type; × is a layer that is dropped.",
        ),
    }
    return draw_parts(document, drawings)
