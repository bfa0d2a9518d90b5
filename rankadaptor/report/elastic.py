"""The report of an elastic job: one HTML page, and its end on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rankadaptor.report.console import render_table, render_verdict
from rankadaptor.report.page_parts import build_part, describe_run, load_template
from rankadaptor.results import Document, Table
from rankadaptor.results.elastic import (
    build_elastic_effort,
    build_elastic_layers,
    build_elastic_points,
    build_methods_table,
    explain_elastic,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

TEMPLATE = "elastic.html.j2"
TABLES: Mapping[str, Callable[[Document], Table]] = {
    "points": build_elastic_points,
    "methods": build_methods_table,
    "layers": build_elastic_layers,
    "effort": build_elastic_effort,
}


def render_elastic(document: Document) -> str:
    """Render the report of an elastic job as one HTML text without any outside reference."""
    word, headline, sentences = explain_elastic(document)
    page: str = load_template(TEMPLATE).render(
        **describe_run(document),
        word=word,
        headline=headline,
        sentences=sentences,
        tables={name: build_part(name, build, document) for name, build in TABLES.items()},
    )
    return page


def render_elastic_console(document: Document) -> RenderableType:
    """Render the points, the methods and the verdict of an elastic job for a terminal."""
    from rich.console import Group
    from rich.text import Text

    tables = (render_table(build_elastic_points(document)), render_table(build_methods_table(document)))
    return Group(tables[0], Text(), tables[1], Text(), render_verdict(*explain_elastic(document)))
