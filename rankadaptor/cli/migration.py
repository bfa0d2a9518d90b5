"""The command that brings a corpus to this version's schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rankadaptor.cli.logs import start_logging


def migrate(
    folder: Annotated[
        Path,
        typer.Argument(metavar="CORPUS", help="Folder that holds records/*.jsonl.", show_default=False),
    ],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details too.")] = False,
) -> None:
    """Write the records of a corpus in this version's schema; nothing is lost, and twice changes nothing."""
    start_logging(verbose=verbose)
    from rankadaptor.corpus import migrate_corpus

    done = migrate_corpus(folder)
    for entry in done:
        typer.echo(f"{entry.path}: {entry.converted} converted, {entry.kept} kept")
    typer.echo(
        f"{sum(entry.converted for entry in done)} records converted, "
        f"{sum(entry.kept for entry in done)} had this schema already"
    )
