"""The file of a comparison: which settings, which methods, what a method may spend, how it is judged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from rankadaptor.config.document import parse_value, read_document
from rankadaptor.config.faults import describe_fault, list_keys
from rankadaptor.config.kit_names import find_unknown_benchmarks
from rankadaptor.config.loading import assign_value, guess_name
from rankadaptor.config.sections import Section
from rankadaptor.errors import ConfigError

MethodName = Literal[
    "uniform", "uniform_tuned", "random", "linear_in_depth", "damage", "eva", "spectra", "adalora", "elastic",
    "boosted_trees", "paper", "ours", "ours_widened", "uniform_started", "ours_started",
]  # fmt: skip

DEFAULT_METHODS: tuple[MethodName, ...] = (
    "uniform", "uniform_tuned", "random", "linear_in_depth", "damage", "eva", "spectra", "adalora", "elastic",
    "boosted_trees", "paper", "ours", "ours_widened", "uniform_started", "ours_started",
)  # fmt: skip


class FinalSection(Section):
    """The full recoveries that judge every method."""

    seeds: int = Field(default=5, ge=2, description="Fresh seeds; each costs a full fine-tune a method.")
    first_seed: int = Field(default=2000, ge=0, description="The seeds are this one and those after it.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence of the intervals.")


class BenchmarkSection(Section):
    """The benchmarks that the recovered models answer, one seed of each method."""

    names: tuple[str, ...] = Field(default=(), description="Benchmark names; [] evaluates none.")
    limit: int | None = Field(default=200, ge=1, description="Questions per benchmark; null takes all.")


class JobFile(Section):
    """What all files of comparing jobs share.

    A setting is the run file of a corpus entry: model, pruning, data, space, recipe and lengths come from it.
    """

    name: str = Field(
        default="comparison", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the job."
    )
    settings: tuple[str, ...] = Field(min_length=1, description="Run files, one a setting.")
    overrides: tuple[str, ...] = Field(
        default=(), description="Assignments for every run file, such as search.steps=24."
    )
    output: str = Field(default="", description="Folder for what is measured; runs/compare/<name> if empty.")
    workers: int = Field(default=1, ge=1, description="Trials measured side by side; changes no result.")
    final: FinalSection = Field(default=FinalSection(), description="The full recoveries at the end.")

    @property
    def folder(self) -> Path:
        """Where everything measured is kept."""
        return Path(self.output or f"runs/compare/{self.name}")


class ComparisonConfig(JobFile):
    """Methods that choose ranks, compared at equal adapter parameters and equal cost."""

    job: Literal["methods"] = Field(default="methods", description="Which job this file describes.")
    methods: tuple[MethodName, ...] = Field(
        default=DEFAULT_METHODS, min_length=1, description="What is compared; uniform always is."
    )
    trials: int = Field(
        default=32, ge=6, description="What a method may spend, in trials of search.steps, uniform's counted."
    )
    batch: int = Field(default=2, ge=1, description="Allocations a guided search proposes at a time.")
    stop: bool = Field(
        default=True,
        description="Whether the package's own search stops where nothing promises more than the noise of a "
        "trial; false where recoveries are much longer than trials and gains may grow with them.",
    )
    corpus: str = Field(
        default="meta_data",
        description="Corpus that the trained predictors learn from, without the setting at hand and without "
        "held-out ones.",
    )
    benchmarks: BenchmarkSection = Field(
        default=BenchmarkSection(), description="Benchmarks of the recovered models."
    )
    results: str = Field(default="experiments/results/compare.json", description="File that gets the rows.")
    document: str | None = Field(
        default="docs/comparison.md", description="Document that is written from the rows; null writes none."
    )


class SmallerConfig(JobFile):
    """The smallest adapter that is not worse than uniform."""

    job: Literal["smaller"] = Field(default="smaller", description="Which job this file describes.")
    like_uniform: int = Field(default=8, ge=1, description="Rank of the uniform adapter to be matched.")
    trials: int = Field(default=32, ge=6, description="Trials of search.steps to learn from.")
    batch: int = Field(default=2, ge=1, description="Allocations measured before the model is asked again.")
    corpus: str = Field(
        default="meta_data", description="Corpus that the predictor learns from, without the setting at hand."
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        description="Not worse means that the interval of the gain lies above minus this, nats per token; "
        "null takes 2 % of what uniform wins back of the pruned model's loss.",
    )
    attempts: int = Field(default=4, ge=1, description="Sizes tried by full recoveries, a bisection.")
    results: str = Field(default="experiments/results/smaller.json", description="File that gets the rows.")
    document: str | None = Field(
        default="docs/smaller.md", description="Document that is written from the rows; null writes none."
    )


class ParityConfig(JobFile):
    """The paper's own claim, tested with repeats."""

    job: Literal["parity"] = Field(default="parity", description="Which job this file describes.")
    ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.2, 0.25, 0.3, 0.5), min_length=1, description="Pruning ratios, one after the other."
    )
    skip_first: int = Field(default=1, ge=0, description="Blocks at the input end, unpruned and pinned.")
    skip_last: int = Field(default=1, ge=0, description="Blocks at the output end, unpruned and pinned.")
    ranks: tuple[int, ...] = Field(
        default=(2, 4, 6, 8, 10, 12, 14, 16), min_length=2, description="The paper's menu of ranks."
    )
    uniform: int = Field(default=8, ge=1, description="The uniform rank that the sum of ranks is taken from.")
    initial: int = Field(default=8, ge=1, description="Random allocations before the network is asked.")
    trials: int = Field(default=20, ge=2, description="Allocations measured for one search.")
    repeats: int = Field(default=3, ge=1, description="Searches, each on a seed of its own.")
    steps: int | None = Field(
        default=None, ge=1, description="Optimiser steps of a trial; null takes the run file's search.steps."
    )
    ours: bool = Field(default=True, description="Also what the default method reaches on the same model.")
    results: str = Field(default="experiments/results/parity.json", description="File that gets the rows.")
    document: str | None = Field(
        default="docs/parity.md", description="Document that is written from the rows; null writes none."
    )


JOBS: dict[str, type[JobFile]] = {
    "methods": ComparisonConfig,
    "smaller": SmallerConfig,
    "parity": ParityConfig,
}


REMEDY = "Copy one from experiments/compare/ and change its settings, or check the path."


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> JobFile:
    """Read the file of a comparing job; its key `job` says which, `methods` by default.

    Args:
        path: The YAML file.
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
            faults.append(f"--set {override}: must read key=value, for example --set trials=12.")
        elif blocked := assign_value(values, key.strip(), parse_value(text, source=f"--set {override}")):
            faults.append(f"--set {override}: {blocked} holds a value, not a section. Set {blocked} itself.")
    job = values.get("job", "methods")
    if job not in JOBS:
        faults.append(f"job: given {job!r}; allowed are {', '.join(JOBS)}.")
        raise ConfigError(str(path), faults)
    config = _validate(values, JOBS[str(job)], places=document.places, faults=faults)
    missing = [name for name in config.settings if not Path(name).is_file()] if config else []
    corpus = getattr(config, "corpus", None) if config and "corpus" in config.model_fields_set else None
    if corpus is not None and not Path(corpus).is_dir():  # the default may be missing: see the logged warning
        faults.append(
            f"corpus: no folder {corpus}. Give its path from the working folder, or leave the key out."
        )
    asked = config.benchmarks.names if isinstance(config, ComparisonConfig) else ()
    faults += [f"{key}: {fault}" for key, fault in find_unknown_benchmarks("benchmarks.names", asked)]
    faults += [f"settings: no run file {name}. Give paths from the working folder." for name in missing]
    if faults or config is None:
        raise ConfigError(str(path), faults)
    return config


def _validate(
    values: dict[str, Any], kind: type[JobFile], *, places: Mapping[str, str], faults: list[str]
) -> JobFile | None:
    try:
        return kind.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        keys = list_keys(kind)
        for detail in error.errors(include_url=False):
            key, text = describe_fault(detail, keys=keys)
            where = places.get(key)
            faults.append(f"{f'{where}: ' if where else ''}{key}: {text}")
        return None
