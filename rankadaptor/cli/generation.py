"""The command that lets a GGUF file continue a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rankadaptor.cli.logs import start_logging
from rankadaptor.defaults import COMPRESSION


def generate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A GGUF file.", show_default=False)],
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="Text to continue.")] = COMPRESSION.sample,
    tokens: Annotated[
        int, typer.Option("--tokens", "-n", min=1, help="Tokens generated at most.")
    ] = COMPRESSION.sample_tokens,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; as many as cores if not given.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Variety: 0 takes the likeliest token each time.")
    ] = COMPRESSION.sample_temperature,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details too.")] = False,
) -> None:
    """Continue a text with a GGUF file in llama.cpp."""
    start_logging(verbose=verbose)
    from rankadaptor.engine.session import EngineSession
    from rankadaptor.runtime import count_cores

    context = len(text.encode()) + tokens + 8  # no token is shorter than a byte
    with EngineSession(file, threads=threads or count_cores(), context=context) as session:
        typer.echo(text + session.generate(text, tokens, temperature=temperature, seed=seed))
