"""The command `compress`, and how plans and results of compressions are shown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rankadaptor.cli.logs import start_logging
from rankadaptor.defaults import COMPRESSION

if TYPE_CHECKING:
    from rankadaptor.config import CompressConfig
    from rankadaptor.planning import TextJobPlan

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
    run_and_show(config, fresh=fresh, verbose=verbose)


def run_and_show(config: CompressConfig, *, fresh: bool, verbose: bool) -> None:
    """Run a compression and show its result."""
    start_logging(verbose=verbose)
    from rankadaptor.planning import check_compression

    check_compression(config, fresh=fresh)  # before torch is imported
    from rankadaptor.pipeline.compression import run_compression

    document = run_compression(config, output=Path(config.output), fresh=fresh)
    show_compression(document, place=Path(config.output))


def _write_plan(config: CompressConfig) -> None:
    from rankadaptor.config import write_template
    from rankadaptor.files import write_text
    from rankadaptor.planning import estimate_compression

    planned = estimate_compression(config)
    path = Path(config.output) / RUN_FILE
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, write_template(config))
    show_compression_plan(planned)
    typer.echo(f"run file: {path}. Next: rankadaptor run {shlex.quote(str(path))}")


def show_compression_plan(plan: TextJobPlan) -> None:
    """Show what a compression or an elastic job will do and cost, its space, and measured speeds."""
    from rich.console import Console
    from rich.table import Table

    from rankadaptor.cli.tables import build_steps_table

    console = Console()
    console.print(
        f"{plan.name} ({plan.digest}) → {plan.output}\n{plan.parameters:,} parameters; limits: {plan.limits}",
        highlight=False,
    )
    console.print(build_steps_table(plan))
    space = Table("space", "", box=None, pad_edge=False)
    for name, value in plan.space.items():
        space.add_row(name, value)
    console.print(space)
    if plan.latency:
        speeds = Table(*plan.latency[0], box=None, pad_edge=False)
        for row in plan.latency:
            speeds.add_row(
                *(f"{value:,.1f}" if isinstance(value, float) else str(value) for value in row.values())
            )
        console.print(speeds)
    elif plan.measures_speed:
        console.print("· the engine's speeds by type are measured when a latency is limited", style="dim")
    for assumption in plan.assumptions:
        console.print(f"· {assumption}", highlight=False, style="dim")


def show_compression(document: Mapping[str, Any], *, place: Path) -> None:
    """Show a compression's gain, its verdict and where the files lie."""
    from rich.console import Console

    from rankadaptor.cli.tables import LOG_WIDTH
    from rankadaptor.report.compression import render_compression_console
    from rankadaptor.tracking import tell_viewing

    console = Console()
    if not console.is_terminal:
        console = Console(width=LOG_WIDTH)
    console.print(render_compression_console(document))
    if not place.is_dir():
        console.print(f"report: {place}", highlight=False, soft_wrap=True)
        return
    written = {
        "file for llama.cpp": place / "model.gguf",
        "Hugging Face folder": place / "model",
        "report": place / "report.html",
        "every score": place / "records.jsonl",
        "result": place / "result.json",
    }
    lines = [f"{name:20} {path}" for name, path in written.items() if path.exists()]
    config = document["run"]["config"]
    following = []
    if written["file for llama.cpp"].exists() and config["export"]["engine"]:
        file = shlex.quote(str(written["file for llama.cpp"]))
        following.append(f'rankadaptor generate {file} "{COMPRESSION.sample}"')
    if config["track"]["enabled"]:
        following.append(tell_viewing(config["track"]["uri"]))
    if following:
        lines += ["", "Next:", *(f"  {line}" for line in following)]
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)
