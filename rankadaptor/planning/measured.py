"""The table of what was measured on the frontier of size and loss, as it is shipped with the package."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

STOCK, RULE, SEARCHED = "stock", "rule", "searched"
"""Kinds: a stock quantisation of the dense model, a simple rule's pruning, the search of `compress`."""


@dataclass(frozen=True)
class MeasuredFile:
    """One measured file.

    Attributes:
        setting: The model and texts it was measured on; a name that `load` knows where it can be loaded.
        parameters: Parameters of the dense model.
        method: How the file was made, for example `Q4_0`.
        kind: `stock`, `rule` or `searched`.
        recovered: Whether the model was fine-tuned after it was made smaller.
        bytes: Size of the file.
        whole_bytes: Size of the dense model's file in Q8_0.
        excess: Loss above the dense model's on each judging text, nats per token.
        tokens_trained: Tokens of its recovery.
        seconds: What the run took that searched it; None for what needs no search.
    """

    setting: str
    parameters: int
    method: str
    kind: str
    recovered: bool
    bytes: int
    whole_bytes: int
    excess: tuple[float, ...]
    tokens_trained: int
    seconds: float | None

    @property
    def size(self) -> float:
        """Bytes relative to the dense model in Q8_0."""
        return self.bytes / self.whole_bytes

    @property
    def mean_excess(self) -> float:
        """Mean over the texts."""
        return sum(self.excess) / len(self.excess)


@cache
def read_measured() -> tuple[MeasuredFile, ...]:
    """Return all files of the table, written by `python -m experiments.advice`."""
    text = resources.files("rankadaptor.planning").joinpath("measured.json").read_text("utf-8")
    return tuple(MeasuredFile(**{**row, "excess": tuple(row["excess"])}) for row in json.loads(text))
