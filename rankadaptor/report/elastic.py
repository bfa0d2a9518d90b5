"""The report of an elastic job: one HTML page, and its end on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rankadaptor.config.document import dump_value
from rankadaptor.credentials import mask_credentials
from rankadaptor.progress import format_seconds
from rankadaptor.report.console import STYLES, render_table
from rankadaptor.report.page_parts import build_part, load_template
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
    run: dict[str, Any] = dict(document.get("run") or {})
    config = run.get("config") or {}
    word, headline, sentences = explain_elastic(document)
    page: str = load_template(TEMPLATE).render(
        run=run,
        config=config,
        word=word,
        headline=headline,
        sentences=sentences,
        version=(document.get("environment") or {}).get("rankadaptor", ""),
        duration=format_seconds(sum(document["result"]["cost"]["seconds"].values())),
        run_file=mask_credentials(dump_value(config)),
        tables={name: build_part(name, build, document) for name, build in TABLES.items()},
    )
    return page


def render_elastic_console(document: Document) -> RenderableType:
    """Render the points, the methods and the verdict of an elastic job for a terminal."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    word, headline, sentences = explain_elastic(document)
    panel = Panel(
        Text(" ".join(sentences)), title=Text(headline), title_align="left", border_style=STYLES[word]
    )
    tables = (render_table(build_elastic_points(document)), render_table(build_methods_table(document)))
    return Group(tables[0], Text(), tables[1], Text(), panel)
