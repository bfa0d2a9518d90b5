"""The program `rankadaptor`: its commands, its options, and how it ends."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from rankadaptor.cli import (
    advising,
    commands,
    compression,
    exporting,
    generation,
    migration,
    prediction,
    recovery,
)
from rankadaptor.cli.signals import end_in_order
from rankadaptor.errors import RankAdaptorError

EXIT_USER = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="rankadaptor",
    help="Make language models smaller: compress to a size, or prune and recover with LoRA layer by layer.",
    epilog="First runs: compress kit:smollm2-135m --size 60MB; init run.yaml, plan run.yaml, run run.yaml.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich would cost 0.15 s at each --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("init")(commands.write_run_file)
app.command("plan")(commands.show_plan)
app.command("run")(commands.run)
app.command("advise")(advising.advise)
app.command("compress")(compression.compress)
app.command("recover")(commands.recover)
app.command("collect")(commands.collect)
app.command("meta-train")(commands.train_predictor)
app.command("migrate")(migration.migrate)
app.command("benchmark")(prediction.benchmark)
app.command("evaluate")(commands.evaluate)
app.command("export")(exporting.export)
app.command("generate")(generation.generate)
app.command("methods")(recovery.show_methods)
app.command("report")(commands.report)
app.command("doctor")(commands.check_machine)


def _show_version(wanted: bool) -> None:
    if wanted:
        from rankadaptor import __version__

        typer.echo(f"rankadaptor {__version__}")
        raise typer.Exit


@app.callback()
def _read_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Make language models smaller: compress to a size, or prune and recover with LoRA layer by layer."""


def _expand_home(word: str) -> str:
    """Replace `~` in `--option=~/path`, which shells leave as it is."""
    option, equals, value = word.partition("=")
    if not (option.startswith("--") and value.startswith("~")):
        return word
    from rankadaptor.config.paths import expand_home

    return f"{option}{equals}{expand_home(value)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code.

    0 is success; 1 a fault found by `doctor` or by `collect --repeat`; 2 a fault that the user can fix,
    printed without a traceback; 130 an interruption from the keyboard; 128 and the signal's number one by a
    signal: 143 for SIGTERM. Any other error is a defect of the toolkit and keeps its traceback.
    """
    with end_in_order() as received:
        try:
            app(
                args=[_expand_home(word) for word in (sys.argv[1:] if arguments is None else arguments)],
                prog_name="rankadaptor",
            )
        except RankAdaptorError as error:
            typer.echo(f"error: {error}", err=True)
            return EXIT_USER
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
            if code == EXIT_INTERRUPTED:
                cause = f"ended by {received[0].name}" if received else "interrupted"
                with contextlib.suppress(OSError):  # the terminal may be gone
                    typer.echo(f"{cause}; what is done is kept, and the same command continues", err=True)
                return 128 + received[0] if received else code
            return code
    return 0
