"""What the plans and checks of the jobs on divided text, `compress` and `elastic`, have in common."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rankadaptor.config import CompressConfig, ElasticConfig
from rankadaptor.planning.plan import PlanStep, StepTotals
from rankadaptor.planning.preconditions import Check, check_length, check_row_source
from rankadaptor.planning.shape import ModelShape


@dataclass(frozen=True)
class TextJobPlan(StepTotals):
    """All steps of a compression or of an elastic job, and what the estimate rests on.

    Attributes:
        name: The run.
        digest: Its digest.
        output: Folder it writes to.
        limits: The limits in words.
        parameters: Parameters of the dense model.
        space: Facts on the space, by name.
        latency: The engine's measured speeds, if the folder holds them: rows of a table.
        steps: In order.
        assumptions: What the figures rest on, one sentence each.
        measures_speed: Whether the run may measure the engine's speeds.
    """

    name: str
    digest: str
    output: str
    limits: str
    parameters: int
    space: Mapping[str, str]
    latency: tuple[Mapping[str, Any], ...]
    steps: tuple[PlanStep, ...]
    assumptions: tuple[str, ...]
    measures_speed: bool

    def to_json(self) -> dict[str, Any]:
        """Return all figures as a JSON-like dict."""
        figures = asdict(self)
        del figures["measures_speed"]  # no figure of the plan
        return {**figures, "totals": self.totals}


def list_text_checks(
    config: CompressConfig | ElasticConfig, shape: ModelShape, *, first: int | None
) -> Iterator[Check]:
    """Yield the checks of the text of a job: its length, then every source.

    Args:
        config: The run.
        shape: The model's sizes.
        first: Rows to read of each file at most; None reads all.
    """
    yield "data.length", lambda: check_length(config.data.length, shape)
    for key, source in config.data.list_sources():
        yield key, functools.partial(check_row_source, source, model=config.model, first=first)
