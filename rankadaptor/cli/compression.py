"""The command `compress`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankadaptor.defaults import COMPRESSION

if TYPE_CHECKING:
    from rankadaptor.config import CompressConfig

RUN_FILE = "run.yaml"


def compress(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="kit:smollm2-135m, a folder in Hugging Face form, or a hub id.",
            show_default=False,
        ),
    ],
    size: Annotated[str | None, typer.Option(help="Bytes of the GGUF file at most: 60MB.")] = None,
    latency: Annotated[
        str | None, typer.Option(help="Time per token on the engine at most, of the dense model's: 0.7x.")
    ] = None,
    parameters: Annotated[
        str | None, typer.Option(help="Parameters at most: 80% of the dense model's, or 100M.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Text that resembles what the model is for: a file, folder or kit:NAME; repeatable."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Folder for results; runs/compress-MODEL-LIMITS if not given.")
    ] = None,
    evaluations: Annotated[
        int, typer.Option(min=1, help="Configurations scored, the sweep included.")
    ] = COMPRESSION.evaluations,
    recover: Annotated[
        bool, typer.Option("--recover/--no-recover", help="Win quality back with a LoRA fine-tune.")
    ] = True,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Set a key of the run file; may be repeated."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Throw away what an earlier run left in the output folder.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Write the run file and show what it would cost; run nothing.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details too.")] = False,
) -> None:
    """Make a model fit a size, a latency or a number of parameters; write a GGUF file and a report.

    Widths, depth and types of all layers are searched together, the best configuration is recovered and
    compared with what a user would otherwise take. The same command continues an interrupted run.
    """
    from rankadaptor.config.compress_request import request_compression

    sections: dict[str, Any] = {"search": {"evaluations": evaluations}}
    if not recover:
        sections["recover"] = None
    config = request_compression(
        model,
        size=size,
        latency=latency,
        parameters=parameters,
        data=data or (),
        output=output,
        sections=sections,
        overrides=overrides or (),
    )
    if plan:
        _write_plan(config)
        return
    from rankadaptor.cli.jobs import run_and_show

    run_and_show(config, fresh=fresh, verbose=verbose)


def _write_plan(config: CompressConfig) -> None:
    from rankadaptor.cli.plans import show_text_job_plan
    from rankadaptor.config import write_template
    from rankadaptor.files import write_text
    from rankadaptor.planning import estimate_compression

    planned = estimate_compression(config)
    path = Path(config.output) / RUN_FILE
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, write_template(config))
    show_text_job_plan(planned)
    typer.echo(f"run file: {path}. Next: rankadaptor run {shlex.quote(str(path))}")
