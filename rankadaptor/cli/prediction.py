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
    output: Annotated[Path, typer.Option(help="The JSON file to write.")] = Path(
        "experiments/results/predictors.json"
    ),
    predictor: Annotated[
        list[str] | None, typer.Option(help="Only this contestant; may be repeated. All if not given.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Random choices of the online records per figure.")] = 5,
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over the corpus for meta-trained networks.")
    ] = 60,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    siblings: Annotated[
        bool,
        typer.Option(
            help="Train on other settings of the same model too; without, only what carries over to another "
            "model counts."
        ),
    ] = True,
    into: Annotated[
        Path | None, typer.Option(help="Only fill this document's generated parts from what was written.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details too.")] = False,
) -> None:
    """Judge predictors on settings that they were not trained on. Continues where it was cut off."""
    start_logging(verbose=verbose)
    if into is not None:
        from rankadaptor.report import fill_contest

        changed = fill_contest(output, file=into)
        typer.echo(f"{into}: {', '.join(changed) if changed else 'nothing'} changed")
        return
    from rankadaptor.pipeline import benchmark_predictors

    rows = benchmark_predictors(
        corpus or [Path("meta_data")],
        output=output,
        predictors=predictor,
        draws=draws,
        epochs=epochs,
        seed=seed,
        siblings=siblings,
    )
    from rankadaptor.cli.tables import show_contest

    show_contest(rows)
    typer.echo(f"wrote {output}, its summary and figures/{output.stem}.png beside it")
