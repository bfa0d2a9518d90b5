"""The job file of the test of the paper's claim."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from experiments.jobs import JobFile


class ParityConfig(JobFile):
    """The paper's own claim, tested with repeats."""

    job: Literal["parity"] = Field(default="parity", description="Which job this file describes.")
    ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.2, 0.25, 0.3, 0.5), min_length=1, description="Pruning ratios, one after the other."
    )
    skip_first: int = Field(default=1, ge=0, description="Blocks at the input end, unpruned and pinned.")
    skip_last: int = Field(default=1, ge=0, description="Blocks at the output end, unpruned and pinned.")
    ranks: tuple[int, ...] = Field(
        default=(2, 4, 6, 8, 10, 12, 14, 16), min_length=2, description="The paper's ranks."
    )
    uniform: int = Field(default=8, ge=1, description="The uniform rank that the sum of ranks is taken from.")
    initial: int = Field(default=8, ge=1, description="Random allocations before the network proposes.")
    trials: int = Field(default=20, ge=2, description="Allocations measured for one search.")
    repeats: int = Field(default=3, ge=1, description="Number of searches, one seed each.")
    steps: int | None = Field(
        default=None, ge=1, description="Optimiser steps of a trial; null takes the run file's search.steps."
    )
    ours: bool = Field(
        default=True,
        description="Whether to search the same pruned models in the run file's space too.",
    )
    corpus: str = Field(
        default="meta_data", description="Corpus of the trained predictor, without the setting itself."
    )
    results: str = Field(default="experiments/results/parity.json", description="File that gets the rows.")
    document: str | None = Field(
        default="docs/parity.md", description="Document that is written from the rows; null writes none."
    )
