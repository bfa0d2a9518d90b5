"""What the pages of all kinds of runs are made of: their templates, figures and tables."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from rankadaptor.results import Table
from rankadaptor.results.table import write_moment


@dataclass(frozen=True)
class Part:
    """A figure or a table of the page, or the sentence in its place.

    Attributes:
        name: Anchor.
        table: The table, if it is one.
        svg: The figure, if it is one.
        narrow: The same figure for a narrow screen.
        caption: What the figure shows.
        sentence: Why it is missing; empty if it is there.
    """

    name: str
    table: Table | None = None
    svg: str = ""
    narrow: str = ""
    caption: str = ""
    sentence: str = ""


def load_template(name: str) -> Any:
    """Load a page's template from the package."""
    import jinja2

    def read(part: str) -> str:
        return resources.files("rankadaptor.report").joinpath(part).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = write_moment
    return environment.get_template(name)
