"""A setting with known truth: gains that add up over slots and saturate with rank, and a noise of choice.

What a slot is worth depends on the kind of its linear and on its depth, plus something of its own, as
measurements on real models suggest. `shared` settings draw the first two from one seed, so that a predictor
can carry them over.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from rankadaptor.components.adapter import RankSpace
from rankadaptor.corpus.record import Record
from rankadaptor.search import draw_random
from rankadaptor.space import Allocation, Space

SHAPES = {
    "q_proj": (32, 32), "k_proj": (32, 16), "v_proj": (32, 16), "o_proj": (32, 32),
    "gate_proj": (32, 64), "up_proj": (32, 64), "down_proj": (64, 32),
}  # fmt: skip
RANKS = (0, 1, 2, 3, 4, 6, 8, 12, 16)


def find_half(kind: str) -> str:
    return "self_attn" if kind[0] in "qkvo" else "mlp"


def make_space(*, blocks: int = 4, slots: str = "linear", uniform: int = 4) -> RankSpace:
    linears = [
        SimpleNamespace(
            name=f"model.layers.{b}.{find_half(kind)}.{kind}",
            block=b,
            kind=kind,
            in_features=i,
            out_features=o,
        )
        for b in range(blocks)
        for kind, (i, o) in SHAPES.items()
    ]
    return RankSpace.from_linears(linears, like_uniform=uniform, slots=slots, ranks=RANKS)


@dataclass
class Oracle:
    """Measures allocations without a model; calling it costs nothing and repeats exactly."""

    space: Space
    weights: np.ndarray
    noise: float
    failing: int = 0  # every so many-th allocation fails

    def true_gains(self, choices: np.ndarray) -> np.ndarray:
        """True gains over uniform, nats per token, of choices `(n, n_slots)`."""
        values = np.array(self.space.read_labels(choices))
        return (np.log1p(values) - np.log1p(np.asarray(self.space.reference().values))) @ self.weights

    def __call__(self, allocation: Allocation, *, seed: int = 0) -> Record:
        key = [seed, *allocation.values]
        rng = np.random.default_rng(key)
        gain = (
            float(self.true_gains(np.asarray([allocation.choices]))[0]) + self.noise * rng.standard_normal()
        )
        failed = self.failing > 0 and rng.integers(self.failing) == 0
        return Record.of_fine_tune(
            setting="oracle", values=allocation.values, seed=seed, steps=24, fidelity=0.24,
            loss=None if failed else 4.0 - gain, loss_reference=4.0,
            parameters=allocation.cost(), tokens=1000, seconds=1.0,
            status="failed" if failed else "ok", error="loss became NaN" if failed else None,
        )  # fmt: skip


def make_oracle(
    space: Space,
    *,
    seed: int,
    shared: int | None = None,
    size: float = 0.004,
    noise: float = 0.5,
    own: float = 0.5,
) -> Oracle:
    """Draw a truth whose gains over random allocations have SD `size`; `noise` is a share of it.

    `shared` seeds what settings have in common, `own` is the size of each slot's own part beside that.
    """
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(seed if shared is None else shared)
    kinds = sorted({slot.kind for slot in space.slots})
    by_kind = dict(zip(kinds, common.exponential(size=len(kinds)), strict=True))
    slope = common.normal() * 0.5
    last = max(slot.block for slot in space.slots)
    weights = np.array(
        [
            (slot.costs_in(space.limits[0].resource)[-1] / slot.options[-1])
            * max(0.05, by_kind[slot.kind] + slope * (slot.block / max(last, 1) - 0.5) + own * rng.normal())
            for slot in space.slots
        ]
    )
    oracle = Oracle(space, weights, 0.0)
    spread = oracle.true_gains(space.sample_choices(500, 0)).std()
    return Oracle(space, weights * size / spread, noise * size)


def measure_sample(oracle: Oracle, count: int, *, seed: int = 0) -> list[Record]:
    return [oracle(allocation) for allocation in draw_random(oracle.space, count, seed=seed)]


def with_losses(record: Record, *, loss: float | None = None, reference: float | None = None) -> Record:
    """The same measurement with another loss, or another loss of the reference."""
    changed = {"loss": loss, "loss_reference": reference}
    kept = {name: value for name, value in changed.items() if value is not None}
    return dataclasses.replace(record, metrics={**record.metrics, **kept})


def as_failed(record: Record, **changes: Any) -> Record:
    return dataclasses.replace(record, status="failed", metrics={}, **changes)
