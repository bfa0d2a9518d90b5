"""The job file of a comparison: methods, and the trials that each may spend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from experiments.jobs import JobFile
from rankadaptor.config.sections import Section

MethodName = Literal[
    "uniform", "uniform_tuned", "random", "linear_in_depth", "damage", "eva", "spectra", "adalora", "elastic",
    "boosted_trees", "paper", "run_default", "ours", "ours_widened", "uniform_started", "ours_started",
]  # fmt: skip

DEFAULT_METHODS: tuple[MethodName, ...] = (
    "uniform", "uniform_tuned", "random", "linear_in_depth", "damage", "eva", "spectra", "adalora", "elastic",
    "boosted_trees", "paper", "run_default", "ours", "ours_widened", "uniform_started", "ours_started",
)  # fmt: skip


class BenchmarkSection(Section):
    """Benchmarks of the recovered models, one seed of each method."""

    names: tuple[str, ...] = Field(default=(), description="Benchmark names; [] evaluates none.")
    limit: int | None = Field(default=200, ge=1, description="Questions per benchmark; null takes all.")


class ComparisonConfig(JobFile):
    """Methods that choose ranks, compared at equal adapter parameters and equal cost."""

    job: Literal["methods"] = Field(default="methods", description="Which job this file describes.")
    methods: tuple[MethodName, ...] = Field(
        default=DEFAULT_METHODS,
        min_length=1,
        description="Methods that are compared; uniform is always added. Labels and descriptions: labels.py.",
    )
    trials: int = Field(
        default=32,
        ge=6,
        description="Trials of search.steps that a method may spend, those of uniform included.",
    )
    batch: int = Field(default=2, ge=1, description="Allocations a guided search proposes at a time.")
    stop: bool = Field(
        default=True,
        description="Whether ours and ours_started end their search once no candidate is expected to gain "
        "more than the noise of a trial; false where recoveries are much longer than trials.",
    )
    corpus: str = Field(
        default="meta_data",
        description="Corpus of the trained predictors, without the setting itself and held-out ones.",
    )
    benchmarks: BenchmarkSection = Field(
        default=BenchmarkSection(), description="Benchmarks of the recovered models."
    )
    results: str = Field(default="experiments/results/compare.json", description="File that gets the rows.")
    document: str | None = Field(
        default="docs/comparison.md", description="Document that is written from the rows; null writes none."
    )

    def list_benchmarks(self) -> Sequence[str]:
        """Return the names of the benchmarks."""
        return self.benchmarks.names
