"""The job file of the search for the smallest adapter that is not worse than uniform."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from experiments.jobs import JobFile


class SmallerConfig(JobFile):
    """The smallest adapter that is not worse than uniform."""

    job: Literal["smaller"] = Field(default="smaller", description="Which job this file describes.")
    like_uniform: int = Field(
        default=8, ge=1, description="Rank of the uniform adapter that is compared with."
    )
    trials: int = Field(default=32, ge=6, description="Trials of search.steps for the predictor.")
    batch: int = Field(default=2, ge=1, description="Allocations measured at a time.")
    corpus: str = Field(
        default="meta_data", description="Corpus that the predictor learns from, without the setting itself."
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        description="Not worse means that the interval of the gain lies above minus this, nats per token; "
        "null takes 2 % of the loss that uniform ranks win back.",
    )
    attempts: int = Field(default=4, ge=1, description="Sizes tried by full recoveries (bisection).")
    results: str = Field(default="experiments/results/smaller.json", description="File that gets the rows.")
    document: str | None = Field(
        default="docs/smaller.md", description="Document that is written from the rows; null writes none."
    )
