"""The command that writes a model as a GGUF file or a Hugging Face folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from rankadaptor.cli.logs import start_logging
from rankadaptor.errors import InputError


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Kit name, folder or hub id.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The GGUF file, or the folder.", show_default=False)
    ],
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter to merge first.")] = None,
    form: Annotated[
        Literal["gguf", "hf"] | None,
        typer.Option("--format", help="gguf or hf; by default gguf where the output is called *.gguf."),
    ] = None,
    type_name: Annotated[
        str | None, typer.Option("--type", help="GGUF: type of the weights, such as Q4_0; Q8_0 by default.")
    ] = None,
    embedding_type: Annotated[
        str | None, typer.Option(help="GGUF: type of the embedding and output head; --type if not given.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="GGUF: longest text in tokens; the model's if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a sentence.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details too.")] = False,
) -> None:
    """Write any model, pruned or not, as a GGUF file for llama.cpp or as a Hugging Face folder."""
    start_logging(verbose=verbose)
    if adapter is not None and not (adapter / "adapter_config.json").is_file():
        raise InputError(f"--adapter {adapter}: no adapter_config.json there. Give a folder that PEFT saved.")
    for given in (type_name, embedding_type):
        if given is not None:  # before a model is read
            from rankadaptor.engine.types import find_type

            find_type(given)
    from rankadaptor.deployment import export as write
    from rankadaptor.named_models import load
    from rankadaptor.runtime import choose_compute

    loaded, tokenizer = load(model, compute=choose_compute(device="cpu", dtype="float32"))
    written = write(
        loaded,
        tokenizer,
        output,
        form=form,
        adapter=adapter,
        default_type=type_name,
        embedding_type=embedding_type,
        context=context,
    )
    if as_json:
        typer.echo(
            json.dumps({name: str(v) if isinstance(v, Path) else v for name, v in asdict(written).items()})
        )
        return
    typer.echo(f"wrote {written.path} ({written.bytes:,} bytes) and {written.card}")
