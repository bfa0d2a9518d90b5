"""What the pages of all kinds of runs are made of: their templates, figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from rankadaptor.config.document import dump_value
from rankadaptor.credentials import mask_credentials
from rankadaptor.errors import InputError
from rankadaptor.progress import format_seconds
from rankadaptor.results import Document, Table
from rankadaptor.results.table import write_moment

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def build_part(name: str, build: Callable[[Document], Table], document: Document) -> Part:
    """Build a table, or say why it is missing."""
    try:
        return Part(name, table=build(document))
    except InputError as error:
        return Part(name, sentence=str(error))


def draw_parts(
    document: Document, drawings: Mapping[str, tuple[Callable[..., Figure], str]]
) -> dict[str, Part]:
    """Draw figures for wide and for narrow screens, or say why one is missing.

    Args:
        document: The whole result document.
        drawings: Name of a figure → the function that draws it, and its caption.
    """
    from rankadaptor import plots
    from rankadaptor.plots.style import NARROW, WIDTH

    parts = {}
    for name, (draw, caption) in drawings.items():
        try:
            wide, narrow = (
                plots.to_svg(draw(document, width=width), name=prefix, description=caption)
                for prefix, width in ((name, WIDTH), (f"{name}-narrow", NARROW))
            )
            parts[name] = Part(name, svg=wide, narrow=narrow, caption=caption)
        except InputError as error:
            parts[name] = Part(name, sentence=str(error))
    return parts


def describe_run(document: Document) -> dict[str, Any]:
    """Return what the pages of all kinds of runs say of the run itself.

    Returns:
        `run`, `config`, `run_file`, `version`, `commit` and `duration`; texts are empty where the document
        does not say.
    """
    run: dict[str, Any] = dict(document.get("run") or {})
    config = run.get("config") or {}
    return {
        "run": run,
        "config": config,
        "run_file": mask_credentials(dump_value(config)) if config else "",
        "version": (document.get("environment") or {}).get("rankadaptor", ""),
        "commit": "" if run.get("commit") in (None, "unknown") else run["commit"],
        "duration": _describe_duration(run, document.get("result") or {}),
    }


def _describe_duration(run: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Return the time of all steps; only that of the last start if the steps have none."""
    steps = [each for each in ((result.get("cost") or {}).get("seconds") or {}).values() if each is not None]
    seconds = sum(steps) if steps else run.get("seconds")
    return "" if seconds is None else format_seconds(seconds)


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
