"""The command that compares ways of choosing ranks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankadaptor.cli.commands import Verbose
from rankadaptor.cli.logs import start_logging
from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

JobFilePath = Annotated[
    Path, typer.Argument(metavar="FILE.yaml", help="The comparison's file.", show_default=False)
]

JobOverrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=C",
        help="Override a key of this file; keys of the run files go under its `overrides`.",
        show_default=False,
    ),
]


def compare(
    path: JobFilePath,
    overrides: JobOverrides = None,
    into: Annotated[
        Path | None, typer.Option(help="Only fill this document's generated parts from what was written.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Compare ways of choosing ranks at equal parameters and cost. The same command continues.

    The file's key `job` says what is done: `methods` (all methods on every setting), `smaller` (the smallest
    adapter that is not worse than uniform) or `parity` (the paper's own claim, with repeats).
    """
    from experiments.jobs import (
        ComparisonConfig,
        ParityConfig,
        SmallerConfig,
        load_job,
    )

    config = load_job(path, overrides or ())
    start_logging(verbose=verbose)
    if into is not None:
        if not isinstance(config, ComparisonConfig | SmallerConfig):
            raise InputError(f"{path}: --into is for `job: methods` and `job: smaller`.")
        from experiments.compare.summary import fill_comparison
        from experiments.smaller.page import fill_smaller

        fill = fill_smaller if isinstance(config, SmallerConfig) else fill_comparison
        changed = fill(config.results, file=into)
        typer.echo(f"{into}: {', '.join(changed) if changed else 'nothing'} changed")
        return
    from experiments.compare import check_claim, compare_methods, find_smaller

    if isinstance(config, ComparisonConfig):
        _show(compare_methods(config), config.results)
    elif isinstance(config, SmallerConfig):
        _show(find_smaller(config), config.results)
    elif isinstance(config, ParityConfig):
        _show(check_claim(config), config.results)


def _show(rows: Sequence[dict[str, Any]], place: str) -> None:
    from rankadaptor.results.table import write_gain, write_percent

    for row in rows:
        parts = [row["setting"], *([write_percent(row["ratio"])] if "ratio" in row else []), row["method"]]
        if "share" in row:
            parts.append(f"{write_percent(row['share'])} of uniform's parameters")
        parts.append(write_gain(row["gain"]))
        if "not_worse" in row:  # an interval below zero may still lie within the margin
            parts.append("within the margin" if row["not_worse"] else "not shown to be within the margin")
        else:
            parts.append(row["outcome"])
        typer.echo(" · ".join(parts))
    typer.echo(f"wrote {place}")
