"""The job file and the command line that the comparing studies share."""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from rankadaptor.config.document import parse_value, read_document
from rankadaptor.config.faults import describe_fault, list_keys
from rankadaptor.config.kit_names import find_unknown_benchmarks
from rankadaptor.config.loading import assign_value, guess_name
from rankadaptor.config.sections import Section
from rankadaptor.errors import ConfigError
from rankadaptor.results.table import write_gain, write_percent


class FinalSection(Section):
    """The full recoveries that every choice is judged by."""

    seeds: int = Field(default=5, ge=2, description="Fresh seeds; each costs one full fine-tune per method.")
    first_seed: int = Field(default=2000, ge=0, description="The first of them; the others follow.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence of the intervals.")


class JobFile(Section):
    """The keys that all comparing jobs share.

    A setting is a run file; model, pruning, data, space, recipe and lengths come from it.
    """

    name: str = Field(
        default="comparison", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the job."
    )
    settings: tuple[str, ...] = Field(min_length=1, description="Run files, one per setting.")
    overrides: tuple[str, ...] = Field(
        default=(), description="Assignments for every run file, such as search.steps=24."
    )
    output: str = Field(default="", description="Folder of the measurements; runs/compare/<name> if empty.")
    workers: int = Field(default=1, ge=1, description="Trials measured at the same time; changes no result.")
    final: FinalSection = Field(default=FinalSection(), description="The full recoveries that judge.")

    @property
    def folder(self) -> Path:
        """Folder of all measurements."""
        return Path(self.output or f"runs/compare/{self.name}")

    def list_benchmarks(self) -> Sequence[str]:
        """Return the names of the benchmarks of the study."""
        return ()


Job = TypeVar("Job", bound=JobFile)

REMEDY = "Copy one from experiments/compare/ and change its settings, or check the path."


def load_job(path: str | Path, kind: type[Job], overrides: Sequence[str] = ()) -> Job:
    """Read the file of a comparing study.

    Args:
        path: The YAML file.
        kind: The study's own keys.
        overrides: Assignments such as `trials=12`.

    Raises:
        ConfigError: With all faults at once.
    """
    path = Path(path)
    document = read_document(path, remedy=REMEDY)
    values, faults = document.values, []
    values.setdefault("name", guess_name(path))
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            faults.append(f"--set {override}: must be key=value, for example --set trials=12.")
        elif blocked := assign_value(values, key.strip(), parse_value(text, source=f"--set {override}")):
            faults.append(f"--set {override}: {blocked} holds a value, not a section. Set {blocked} itself.")
    config = _validate(values, kind, places=document.places, faults=faults)
    missing = [name for name in config.settings if not Path(name).is_file()] if config else []
    corpus = getattr(config, "corpus", None) if config and "corpus" in config.model_fields_set else None
    if corpus is not None and not Path(corpus).is_dir():  # the default may be missing: see the logged warning
        faults.append(
            f"corpus: no folder {corpus}. Give its path from the working folder, or leave the key out."
        )
    asked = config.list_benchmarks() if config else ()
    faults += [f"{key}: {fault}" for key, fault in find_unknown_benchmarks("benchmarks.names", asked)]
    faults += [f"settings: no run file {name}. Give paths from the working folder." for name in missing]
    if faults or config is None:
        raise ConfigError(str(path), faults)
    return config


def _validate(
    values: dict[str, Any], kind: type[Job], *, places: Mapping[str, str], faults: list[str]
) -> Job | None:
    try:
        return kind.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        keys = list_keys(kind)
        for detail in error.errors(include_url=False):
            key, text = describe_fault(detail, keys=keys)
            where = places.get(key)
            faults.append(f"{f'{where}: ' if where else ''}{key}: {text}")
        return None


def run_job(
    text: str | None,
    kind: type[Job],
    *,
    study: str,
    fill: str | None = None,
) -> None:
    """Run a comparing study from the command line, or fill the generated parts of a document.

    Args:
        text: The text of `--help`.
        kind: The study's own keys.
        study: Function that measures and returns rows, as `module:name`; imported when it is needed.
        fill: Function that fills a document from the rows that are there, likewise; None has no `--into`.

    Raises:
        RankAdaptorError: If the job file, its settings or the results are not sound.
    """
    given = _read_command(text, into=fill is not None)
    config = load_job(given.file, kind, given.set)
    results: str = config.results  # type: ignore[attr-defined]  # every study has this key, with its own default
    if fill is not None and given.into is not None:
        report_changes(given.into, pkgutil.resolve_name(fill)(results, file=given.into))
        return
    show_rows(pkgutil.resolve_name(study)(config), results)


def _read_command(text: str | None, *, into: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE.yaml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="override a key of this file; keys of the run files go under its `overrides`",
    )
    if into:
        parser.add_argument("--into", type=Path, help="only fill this document's generated parts")
    return parser.parse_args()


def show_rows(rows: Sequence[Mapping[str, Any]], place: str) -> None:
    """Write one line per row, and the path of the rows, to stdout."""
    for row in rows:
        parts = [row["setting"], *([write_percent(row["ratio"])] if "ratio" in row else []), row["method"]]
        if "share" in row:
            parts.append(f"{write_percent(row['share'])} of uniform's parameters")
        parts.append(write_gain(row["gain"]))
        if "not_worse" in row:  # an interval below zero may still lie within the margin
            parts.append("within the margin" if row["not_worse"] else "not shown to be within the margin")
        else:
            parts.append(row["outcome"])
        sys.stdout.write(" · ".join(parts) + "\n")
    sys.stdout.write(f"wrote {place}\n")


def report_changes(file: Path, changed: Sequence[str]) -> None:
    """Write to stdout which parts of a document changed."""
    sys.stdout.write(f"{file}: {', '.join(changed) if changed else 'nothing'} changed\n")
