"""The commands. Each reads the run file, calls one function of the package, and shows the result."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rankadaptor.cli.logs import start_logging
from rankadaptor.credentials import mask_credentials
from rankadaptor.errors import InputError
from rankadaptor.requirements import MLFLOW, check_package

if TYPE_CHECKING:
    from rankadaptor.config import CompressConfig, ElasticConfig, RunConfig

RunFile = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a key of the run file; may be repeated."),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete the files of an earlier run in the output folder.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log details too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]


def write_run_file(
    path: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The file to write.")] = Path("run.yaml"),
    preset: Annotated[
        str | None,
        typer.Option(help="Write the run file of a known method, such as lonas, in place of a rank search."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="kit:smollm2-135m, a folder in Hugging Face form, or a hub id.")
    ] = "kit:smollm2-135m",
    output: Annotated[str | None, typer.Option(help="Folder for results; runs/<name> if not given.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; the file's name if not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a commented run file: with every key and its default, or of a preset."""
    from rankadaptor.config import build_run, guess_name, write_template
    from rankadaptor.files import write_text

    if path.exists() and not force:
        raise InputError(f"{path} exists already. Choose another name, or pass --force to overwrite it.")
    if preset is not None:
        from rankadaptor.presets import write_preset

        text = write_preset(preset, model=model, output=output)
        write_text(path, text if name is None else f"{text}name: {name}\n")
        typer.echo(f"wrote {path}. Next: rankadaptor plan {shlex.quote(str(path))}")
        return
    values = {"name": name or guess_name(path), "output": output, "model": model}
    if _is_pruned(model):
        values["prune"] = None
    write_text(path, write_template(build_run(values, source="init")))
    typer.echo(f"wrote {path}. Next: rankadaptor plan {shlex.quote(str(path))}")


def show_plan(
    path: RunFile,
    overrides: Overrides = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Measure this machine's speed for a second instead of using a typical value."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show steps, runs, tokens, memory and hours of a run, before anything is loaded."""
    from rankadaptor.cli.jobs import plan_and_show

    plan_and_show(_load_any(path, overrides), measure=measure, as_json=as_json)


def run(
    path: RunFile,
    overrides: Overrides = None,
    fresh: Fresh = False,
    until: Annotated[
        Literal["verdict"] | None,
        typer.Option(help="Stop after the verdict; the same command without this continues."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Do what a run file describes. Continues where an interrupted run stopped."""
    from rankadaptor.config import RunConfig

    config = _load_any(path, overrides)
    if until is None:
        from rankadaptor.cli.jobs import run_and_show

        run_and_show(config, fresh=fresh, verbose=verbose)
        return
    if not isinstance(config, RunConfig):
        raise InputError("--until verdict is for a rank search; other verdicts come last.")
    start_logging(verbose=verbose)
    from rankadaptor.planning import check_job

    check_job(config, fresh=fresh)  # before torch is imported
    from rankadaptor.pipeline import run_search

    verdict = run_search(config, output=Path(config.output), fresh=fresh)
    from rankadaptor.results import explain_outcome

    found = {"schema": 1, "run": {"config": config.to_json()}, "result": {"verdict": verdict}}
    outcome = explain_outcome(found)
    typer.echo(" ".join((f"{outcome.headline}. {outcome.advice}", *outcome.evidence)))


def recover(path: RunFile, overrides: Overrides = None, verbose: Verbose = False) -> None:
    """Do a run's full fine-tunes on several devices, started by `accelerate launch -m rankadaptor`."""
    config = _load(path, overrides)
    start_logging(verbose=verbose)
    from rankadaptor.pipeline import recover_shared

    step = recover_shared(config, output=Path(config.output))
    for name, entry in (step or {"adapters": {}})["adapters"].items():
        typer.echo(f"{name}: held-out loss {entry['loss']:.4f} nats per token")


def collect(
    path: RunFile,
    overrides: Overrides = None,
    fresh: Fresh = False,
    repeat: Annotated[
        int,
        typer.Option(min=0, help="Measure this many stored records again and compare, instead of new ones."),
    ] = 0,
    verbose: Verbose = False,
) -> None:
    """Measure many allocations of one setting and add the records to a corpus. Continues like `run`."""
    config = _load(path, overrides)
    start_logging(verbose=verbose)
    if repeat:
        if fresh:
            raise InputError("--repeat measures stored records again, --fresh deletes them: give one.")
        from rankadaptor.cli.tables import show_repetitions
        from rankadaptor.pipeline import repeat_records

        repeated = repeat_records(config, repeat)
        show_repetitions(repeated)
        if not all(repetition.agrees for repetition in repeated):
            raise typer.Exit(1)
        return
    from rankadaptor.planning import check_run

    check_run(config, fresh=fresh, searches=False)  # before torch is imported
    from rankadaptor.pipeline import collect_records

    settings = (f"--set {mask_credentials(given)}" for given in overrides or ())
    words = ["rankadaptor", "collect", _name_file(path), *settings]
    count = collect_records(config, output=Path(config.output), fresh=fresh, command=" ".join(words))
    typer.echo(f"{config.collect.corpus} holds {count} records of setting {config.name}")


def train_predictor(
    path: RunFile,
    overrides: Overrides = None,
    benchmark: Annotated[
        Path | None,
        typer.Option(help="Summary that `benchmark --output` wrote; its results are added to the card."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Meta-train the performance model on the corpus that `collect` filled."""
    config = _load(path, overrides)
    start_logging(verbose=verbose)
    from rankadaptor.pipeline import train_from_run

    given = config.meta_train
    if config.track.enabled:
        check_package(MLFLOW)
    train_from_run(config, benchmark=benchmark)
    typer.echo(
        f"wrote {given.output}. `rankadaptor run` uses it with search.predictor: meta and "
        f"search.predictor_path: {given.output}"
    )
    if config.track.enabled:
        from rankadaptor.tracking import register_predictor

        address = register_predictor(
            Path(given.output), target=config.track.uri, experiment=config.track.experiment
        )
        typer.echo(f"registered as {address}; mlflow.pyfunc.load_model loads it")


def evaluate(
    path: RunFile,
    overrides: Overrides = None,
    model: Annotated[
        str | None,
        typer.Option(help="Evaluate this model instead of the run's own: kit name, folder, or hub id."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter to put on it.")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Score the models of a finished run, or any other model, on the run file's benchmarks."""
    config = _load(path, overrides)
    start_logging(verbose=verbose)
    from rankadaptor.cli.scoring import score_models

    scores = score_models(config, model=model, adapter=adapter)
    if as_json:
        typer.echo(json.dumps(scores, indent=2))
        return
    from rankadaptor.cli.tables import show_scores

    show_scores(scores)


def report(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN.yaml",
            help="The run file, its output folder, or a result file (.json).",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    into: Annotated[
        Path | None,
        typer.Option(
            help="Fill the generated parts of this Markdown document instead; its figure goes to figures/ "
            "beside it."
        ),
    ] = None,
) -> None:
    """Show a finished run and write its HTML report again, or fill a document from its result."""
    source = path if path.is_dir() or path.suffix == ".json" else Path(_load_any(path, overrides).output)
    if into is not None:
        from rankadaptor.report import fill_document

        changed = fill_document(source, file=into)
        typer.echo(f"{into}: {', '.join(changed) if changed else 'nothing'} changed")
        return
    from rankadaptor.cli.results import show_result
    from rankadaptor.report import write_report
    from rankadaptor.results import read_result

    show_result(read_result(source), place=write_report(source))


def check_machine(
    network: Annotated[
        bool, typer.Option("--network", help="Also check that the package index answers.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check Python, packages, processor, disk, kit, tracking store; exit 1 if something needed is missing."""
    from rankadaptor.doctor import examine

    checks = examine(network=network)
    if as_json:
        typer.echo(json.dumps([check.to_json() for check in checks], indent=2))
    else:
        from rankadaptor.cli.tables import show_checks

        show_checks(checks)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(1)


def _load(path: Path, overrides: list[str] | None) -> RunConfig:
    from rankadaptor.config import load_run

    return load_run(path, overrides or ())


def _load_any(path: Path, overrides: list[str] | None) -> RunConfig | CompressConfig | ElasticConfig:
    from rankadaptor.config import load_job

    return load_job(path, overrides or ())


def _is_pruned(model: str) -> bool:
    """Tell whether a folder holds a model that this package pruned."""
    from rankadaptor.files import read_json

    config = Path(model).expanduser() / "config.json"
    if not config.is_file():
        return False
    content = read_json(config)
    return isinstance(content, dict) and bool(content.get("rankadaptor"))


def _name_file(path: Path) -> str:
    """Return a file's path relative to the current folder, or its name alone: records may be moved."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.name
