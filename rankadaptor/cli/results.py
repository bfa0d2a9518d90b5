"""Results of all kinds of jobs on stdout: figures and verdict, then the run's files and the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.cli.tables import open_console
from rankadaptor.defaults import COMPRESSION
from rankadaptor.results import find_job

if TYPE_CHECKING:
    from rich.console import RenderableType

Document = Mapping[str, Any]
FILES = ("report", "report.html"), ("every score", "records.jsonl"), ("result", "result.json")


@dataclass(frozen=True)
class Shown:
    """What is shown of a result.

    Attributes:
        body: Figures and verdict.
        files: What a file or folder is → its path.
        following: Next commands.
    """

    body: RenderableType
    files: Mapping[str, Path]
    following: list[str] = field(default_factory=list)


def show_result(document: Document, *, place: Path) -> None:
    """Show a run's figures, its verdict and the paths of its files.

    Args:
        document: The result document.
        place: The run's folder, whose files and next commands are shown, or the path of the report.
    """
    from rankadaptor.tracking import tell_viewing

    console, shown = open_console(), SHOWN[find_job(document)](document, place)
    console.print(shown.body)
    if not place.is_dir():
        console.print(f"report: {place}", highlight=False, soft_wrap=True)
        return
    lines = [f"{name:20} {path}" for name, path in shown.files.items() if path.exists()]
    following, track = list(shown.following), document["run"]["config"]["track"]
    if track["enabled"]:
        following.append(tell_viewing(track["uri"]))
    if following:
        lines += ["", "Next:", *(f"  {line}" for line in following)]
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


def _describe_rank_search(document: Document, place: Path) -> Shown:
    from rankadaptor.report import render_console
    from rankadaptor.results import explain_outcome
    from rankadaptor.results.scores import FEWEST_ITEMS

    files = {
        "report": place / "report.html",
        "recommended adapter": place / "adapters" / explain_outcome(document).recommended,
        "pruned model": place / "pruned",
        "every trial": place / "records.jsonl",
        "result": place / "result.json",
    }
    command = f"rankadaptor evaluate {shlex.quote(str(place / 'run.yaml'))}"
    return Shown(render_console(document), files, [f"{command} --set evaluate.limit={FEWEST_ITEMS}"])


def _describe_compression(document: Document, place: Path) -> Shown:
    from rankadaptor.report.compression import render_compression_console

    file = place / "model.gguf"
    files = {"file for llama.cpp": file, "Hugging Face folder": place / "model", **_list_files(place)}
    engine = document["run"]["config"]["export"]["engine"]
    following = [f'rankadaptor generate {shlex.quote(str(file))} "{COMPRESSION.sample}"']
    return Shown(render_compression_console(document), files, following if file.exists() and engine else [])


def _describe_elastic(document: Document, place: Path) -> Shown:
    from rankadaptor.report.elastic import render_elastic_console

    files = {"smaller model": place / "model", "super-network": place / "super_network", **_list_files(place)}
    return Shown(render_elastic_console(document), files)


def _list_files(place: Path) -> dict[str, Path]:
    return {what: place / name for what, name in FILES}


SHOWN: Mapping[str, Callable[[Document, Path], Shown]] = {
    "rank_search": _describe_rank_search,
    "compress": _describe_compression,
    "elastic": _describe_elastic,
}
