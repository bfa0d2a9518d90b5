"""The command that compares predictors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rankadaptor.cli.logs import start_logging


def benchmark(
    corpus: Annotated[
        list[Path] | None, typer.Option(help="Corpus folder; may be repeated. meta_data if not given.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="JSON file for all rows; a summary for `meta-train --benchmark` goes beside it."),
    ] = None,
    predictor: Annotated[
        list[str] | None, typer.Option(help="Only this predictor; may be repeated. All if not given.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Random choices of the online records per figure.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    siblings: Annotated[
        bool,
        typer.Option(
            help="Train on other settings of the same model too; without, the benchmark measures transfer to "
            "another model."
        ),
    ] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details too.")] = False,
) -> None:
    """Judge predictors on settings without training on these. With --output, an interrupted one continues."""
    start_logging(verbose=verbose)
    from rankadaptor.pipeline import benchmark_predictors

    rows = benchmark_predictors(
        corpus or [Path("meta_data")],
        output=output,
        predictors=predictor,
        draws=draws,
        seed=seed,
        siblings=siblings,
    )
    from rankadaptor.cli.tables import show_contest

    show_contest(rows)
    if output is not None:
        typer.echo(f"wrote {output}, and its summary beside it")
