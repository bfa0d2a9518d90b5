"""Running an elastic job from the command line, and showing its result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.cli.logs import start_logging

if TYPE_CHECKING:
    from rankadaptor.config import ElasticConfig


def run_and_show_elastic(config: ElasticConfig, *, fresh: bool, verbose: bool) -> None:
    """Run an elastic job and show its result."""
    start_logging(verbose=verbose)
    from rankadaptor.planning import check_elastic

    check_elastic(config, fresh=fresh)  # before torch is imported
    from rankadaptor.pipeline.elastic import run_elastic

    document = run_elastic(config, output=Path(config.output), fresh=fresh)
    show_elastic(document, place=Path(config.output))


def show_elastic(document: Mapping[str, Any], *, place: Path) -> None:
    """Show what was found, its verdict and where the files lie."""
    from rich.console import Console

    from rankadaptor.cli.tables import LOG_WIDTH
    from rankadaptor.report.elastic import render_elastic_console
    from rankadaptor.tracking import tell_viewing

    console = Console()
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    console.print(render_elastic_console(document))
    if not place.is_dir():
        console.print(f"report: {place}", highlight=False, soft_wrap=True)
        return
    written = {
        "smaller model": place / "model",
        "super-network": place / "super_network",
        "report": place / "report.html",
        "every score": place / "records.jsonl",
        "result": place / "result.json",
    }
    lines = [f"{name:16} {path}" for name, path in written.items() if path.exists()]
    track = document["run"]["config"]["track"]
    if track["enabled"]:
        lines += ["", "Next:", f"  {tell_viewing(track['uri'])}"]
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)
