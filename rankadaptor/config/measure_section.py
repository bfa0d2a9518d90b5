"""The section of a run file that says how the search measures an allocation."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from rankadaptor.config.sections import Section
from rankadaptor.defaults import SEARCH

ScoreName = Literal["spectra", "variance", "reconstruction"]
MeasureName = Literal["short_run", "successive_halving", "elastic", "spectra", "variance", "reconstruction"]
SCORES: tuple[str, ...] = get_args(ScoreName)
RUNGS = 3  # number of rungs if none are given


class MeasureSection(Section):
    """How the search measures an allocation. The verdict always uses separate fine-tunes."""

    kind: MeasureName = Field(
        default="short_run",
        description="short_run: a fine-tune of search.steps. successive_halving: many short ones, the best "
        "continue with longer ones. elastic: slices of one elastic adapter. spectra, variance, "
        "reconstruction: no search; the ranks are allocated by a score without training.",
    )
    rungs: tuple[int, ...] = Field(
        default=(),
        description="successive_halving: optimiser steps of each rung, ascending; [] takes a ninth, a third "
        "and all of search.steps.",
    )
    keep: float = Field(
        default=SEARCH.keep,
        gt=0,
        lt=1,
        description="successive_halving: share that continues to the next rung.",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="elastic: optimiser steps of the elastic adapter; null takes recover.steps.",
    )
    sandwich: bool = Field(
        default=False,
        description="elastic: train the largest ranks, uniform and a random allocation in turn, instead of a "
        "random one every step.",
    )
    warm_start: bool = Field(
        default=False,
        description="elastic: every full fine-tune, uniform's too, starts from its slice of the "
        "elastic adapter.",
    )
    examples: int = Field(
        default=SEARCH.examples,
        ge=1,
        description="Scores: training sequences that are run through the model.",
    )

    def list_rungs(self, steps: int) -> tuple[int, ...]:
        """Return the rungs, by default a ninth, a third and all of `steps`, without duplicates."""
        if self.rungs:
            return self.rungs
        return tuple(dict.fromkeys(max(1, round(steps / 3**power)) for power in range(RUNGS - 1, -1, -1)))
