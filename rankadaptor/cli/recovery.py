"""The command `methods`: what each method of recovery trains, and when to take it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankadaptor.methods import METHODS

if TYPE_CHECKING:
    from rankadaptor.planning.shape import ModelShape

MERGED = {True: "yes", False: "no"}


def show_methods(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model whose trained parameters are counted.")
    ] = "kit:smollm2-135m",
    rank: Annotated[int, typer.Option(min=1, help="Rank of every linear, of methods with ranks.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")] = False,
) -> None:
    """List the methods of recovery: what is trained, how many parameters, whether it can be merged."""
    import json

    from rankadaptor.planning.preconditions import check_model_source

    shape = check_model_source(model)
    rows = [describe_method(name, shape, rank=rank) for name in METHODS]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console, table = Console(), Table(box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for heading in ("parameters", "merged", "rates"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("trains")
    for row in rows:
        table.add_row(
            row["method"],
            f"{row['parameters']:,}",
            MERGED[row["mergeable"]],
            " ".join(f"{rate:g}" for rate in row["learning_rates"]),
            row["trains"],
        )
    console.print(table)
    for row in rows:
        console.print(f"· {row['method']}: {row['when']}", highlight=False, style="dim")


def describe_method(name: str, shape: ModelShape, *, rank: int) -> dict[str, Any]:
    """Return a method's facts, with the parameters that it trains on one model."""
    from rankadaptor.planning.trainable import count_trainable

    method = METHODS[name]
    return {
        "method": name,
        "title": method.title,
        "trains": method.trains,
        "parameters": count_trainable(method, shape, rank=rank),
        "mergeable": method.mergeable,
        "saved": method.saved,
        "learning_rates": list(method.learning_rates),
        "rates_from": re.sub(r"\[([\w-]+)\]_", r"\1", method.basis),
        "when": method.when,
    }
