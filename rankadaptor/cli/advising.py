"""The command that says which way of making a model smaller to take."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rankadaptor.planning.advice import Advice
    from rankadaptor.planning.measured import MeasuredFile


def advise(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Kit name, folder or hub id.")],
    size: Annotated[str, typer.Option(help="Bytes of the file at most, such as 60MB.", show_default=False)],
    hours: Annotated[float, typer.Option(help="Hours of this machine at most.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of sentences.")] = False,
) -> None:
    """Say which way of making a model smaller was best at about this size, and how sure that is."""
    from rankadaptor.config.limits import read_size
    from rankadaptor.planning.advice import advise as choose
    from rankadaptor.planning.preconditions import check_model_source

    found = choose(model, check_model_source(model), size=read_size(size), hours=hours)
    typer.echo(json.dumps(found.to_json(), indent=2) if as_json else write_advice(found, model, size=size))


def write_advice(found: Advice, model: str, *, size: str) -> str:
    """Return the advice in sentences, with the command that does it."""
    from rankadaptor.planning.advice import SURE

    lines = []
    if found.chosen is not None:
        file = found.chosen.file
        lines.append(f"Take {file.method}: about {found.chosen.hours:.1f} hours.")
    lines += [*found.why, f"How sure: {found.certainty}. {SURE[found.certainty].capitalize()}."]
    if found.chosen is not None:
        lines.append(f"Next: {_write_next(found.chosen.file, shlex.quote(model), size=size)}")
    if others := [each for each in found.options if each is not found.chosen][:6]:
        lines.append("Also measured at about this size (nats per token over the dense model, hours):")
        lines += [
            f"  {each.file.mean_excess:+.3f}  {each.hours:6.1f}  {each.file.method}"
            f"{'' if each.fits else '  (too long)'}"
            for each in others
        ]
    return "\n".join(lines)


def _write_next(file: MeasuredFile, model: str, *, size: str) -> str:
    from rankadaptor.planning.measured import SEARCHED, STOCK

    if file.kind == SEARCHED:
        return f"rankadaptor compress {model} --size {size}"
    kind = file.method.partition(",")[0].split()[-1]
    if file.kind == STOCK and not file.recovered:
        return f"rankadaptor export {model} -o model.gguf --type {kind}"
    return (
        "docs/how-to/recover-your-model.md says how to prune and recover a model, also through the rounding "
        f"of {kind}; then rankadaptor export FOLDER -o model.gguf --type {kind}"
    )
