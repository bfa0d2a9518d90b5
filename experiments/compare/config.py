"""The file of a comparison: which methods, and what a method may spend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from experiments.jobs import JobFile
from rankadaptor.config.sections import Section

MethodName = Literal[
    "uniform", "uniform_tuned", "random", "linear_in_depth", "damage", "eva", "spectra", "adalora", "elastic",
    "boosted_trees", "paper", "ours", "ours_widened", "uniform_started", "ours_started",
]  # fmt: skip

DEFAULT_METHODS: tuple[MethodName, ...] = (
    "uniform", "uniform_tuned", "random", "linear_in_depth", "damage", "eva", "spectra", "adalora", "elastic",
    "boosted_trees", "paper", "ours", "ours_widened", "uniform_started", "ours_started",
)  # fmt: skip


class BenchmarkSection(Section):
    """The benchmarks that the recovered models answer, one seed of each method."""

    names: tuple[str, ...] = Field(default=(), description="Benchmark names; [] evaluates none.")
    limit: int | None = Field(default=200, ge=1, description="Questions per benchmark; null takes all.")


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

    def list_benchmarks(self) -> Sequence[str]:
        """Return the names of the benchmarks that the recovered models answer."""
        return self.benchmarks.names
