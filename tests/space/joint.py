"""A space like that of a compressed model: width and type of MLPs and attention, and the embedding's type."""

from __future__ import annotations

import dataclasses
import math
import zlib

import numpy as np

from rankadaptor.corpus import Record
from rankadaptor.space import Allocation, Limit, Slot, Space

BITS = {"Q8": 8.5, "Q5": 5.5, "Q4": 4.5}
ROUNDING = {"Q8": 0.005, "Q5": 0.035, "Q4": 0.07}
FIXED = 1000


def describe_type(bits: str) -> tuple[float, float]:
    """Bits and rounding relative to the largest type, which is also what a dropped slot has."""
    return math.log2(BITS.get(bits, 8.5) / 8.5), ROUNDING.get(bits, 0.005) - 0.005


def make_slot(name: str, kind: str, block: int, *, widths: tuple[int, ...], weights: int) -> Slot:
    """Width × type, and `(0, "none")`; `weights` per unit of width."""
    options = [(0, "none"), *((width, bits) for width in widths for bits in reversed(BITS))]
    top = widths[-1]
    return Slot(
        name=name,
        component="joint",
        modules=(f"model.layers.{block}.{kind}",),
        options=tuple(options),
        costs=(
            ("bytes", tuple(round(width * weights * BITS.get(bits, 0) / 8) for width, bits in options)),
            ("macs", tuple(width * weights for width, _ in options)),
        ),
        coordinates=tuple(
            (width / top - 1, -float(width == 0), *describe_type(bits)) for width, bits in options
        ),
        block=block,
        kind=kind,
    )


def make_joint_space(*, blocks: int = 30, size: float = 0.6, macs: float | None = None) -> Space:
    """A space of `2 · blocks + 2` slots, one of them pinned; limits as shares of the dense model's costs."""
    slots = []
    for block in range(blocks):
        slots.append(make_slot(f"block{block}.attention", "attention", block, widths=(1, 2, 3), weights=3000))
        slots.append(make_slot(f"block{block}.mlp", "mlp", block, widths=tuple(range(4, 49, 4)), weights=500))
    embedding = Slot(
        name="embedding", component="joint", modules=("model.embed_tokens",), options=tuple(reversed(BITS)),
        costs=(("bytes", tuple(round(150_000 * BITS[bits] / 8) for bits in reversed(BITS))),),
        coordinates=tuple(describe_type(bits) for bits in reversed(BITS)),
        block=0, kind="embedding",
    )  # fmt: skip
    fixed = Slot(
        name="fixed", component="fixed", modules=(), options=("fixed",), costs=(("bytes", (FIXED,)),),
        coordinates=((0.0,),), block=0, kind="fixed", pinned=0,
    )  # fmt: skip
    slots += [embedding, fixed]
    dense = tuple(len(slot.options) - 1 for slot in slots)
    whole = sum(slot.costs_in("bytes")[-1] for slot in slots)
    limits = [Limit("bytes", int(whole * size))]
    if macs is not None:
        limits.append(Limit("macs", int(macs * sum(slot.costs_in("macs")[-1] for slot in slots))))
    return Space(tuple(slots), tuple(limits), references=(("dense", dense),), model="joint")


@dataclasses.dataclass
class JointOracle:
    """A KL divergence with known truth: sums over slots, pairs of neighbours, and saturation.

    KL = g(Σ damage of slots + Σ over neighbours of strength · √(product of their damages)), where g grows
    faster than its argument at first and saturates at some nats.
    """

    space: Space
    damages: np.ndarray
    strengths: np.ndarray
    tokens: int = 2000
    calls: int = 0

    def true_kl(self, choices: np.ndarray, *, tokens: int | None = None) -> np.ndarray:
        """KL of choices `(n, n_slots)` in nats per token; few tokens see other sensitivities of slots."""
        rows = np.asarray(choices)
        damages = self.damages[np.arange(self.space.n_slots), rows]
        few = self.tokens if tokens is None else tokens
        if few < self.tokens:
            rng = np.random.default_rng([few, 7])
            noise = 0.12 * np.sqrt(self.tokens / few - 1)
            damages = damages * np.exp(noise * rng.standard_normal(self.space.n_slots) + 0.05)
        near = np.sqrt(damages[:, :-1] * damages[:, 1:]) @ self.strengths[:-1]
        far = np.sqrt(damages[:, :-2] * damages[:, 2:]) @ self.strengths[1:-1]
        total = np.maximum(damages.sum(axis=1) + near + 0.7 * far, 0.0)
        return 6.0 * (1 - np.exp(-(total + 0.3 * total**2) / 6.0))

    def __call__(self, allocation: Allocation, *, tokens: int | None = None) -> Record:
        self.calls += 1
        kl = float(self.true_kl(np.asarray([allocation.choices]), tokens=tokens)[0])
        scored = self.tokens if tokens is None else tokens
        return Record(
            setting="joint", values=allocation.values, source="slice", seed=0, steps=0,
            fidelity=scored / self.tokens, metrics={"kl": kl, "loss": 3.0 + kl, "loss_reference": 3.0},
            costs={"bytes": allocation.cost("bytes"), "tokens": scored, "seconds": scored / 1000},
        )  # fmt: skip

    def measure(self, allocations, *, tokens: int | None = None) -> list[Record]:
        return [self(allocation, tokens=tokens) for allocation in allocations]


def make_joint_oracle(space: Space, *, seed: int, interaction: float = 0.8) -> JointOracle:
    """Draw slot sensitivities that vary with depth, kind and slot, and pair terms of both signs."""
    rng = np.random.default_rng([seed, zlib.crc32(b"joint")])
    damages = np.zeros((space.n_slots, space.tables.n_options))
    for row, slot in enumerate(space.slots):
        if slot.pinned is not None:
            continue
        size = np.exp(0.8 * rng.standard_normal() - 3.2) * (2.5 if slot.block in (0, 29) else 1.0)
        power, rounding = rng.uniform(1.1, 2.2), np.exp(0.5 * rng.standard_normal())
        for option, vector in enumerate(slot.coordinates):
            removed, dropped = (-vector[0], -vector[1]) if len(vector) == 4 else (0.0, 0.0)
            error = vector[-1]
            wide = size * removed**power * (1 + dropped * rng.uniform(0.0, 1.0))
            scale = 10 if slot.kind == "embedding" else 1
            damages[row, option] = wide + scale * 0.7 * rounding * error**2 * (1 - 0.6 * removed)
        damages[row, len(slot.options) :] = damages[row, len(slot.options) - 1]
    strengths = interaction * rng.uniform(-0.5, 1.5, size=space.n_slots)
    return JointOracle(space, damages, strengths)
