"""What larger models need on a data-centre GPU, from the same counts that `plan` uses.

Nothing here is measured: sizes are those of published models, the GPU's figures are its data sheet's, and the
shares of them that a trial reaches are assumptions, named as such in everything that is made from this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankadaptor.planning.costs import (
    WEIGHT_BYTES,
    Cost,
    Work,
    count_forward,
    count_scoring_bytes,
    count_taylor,
    count_taylor_bytes,
    count_training,
    count_training_bytes,
    count_weight_bytes,
)
from rankadaptor.planning.shape import BlockShape, ModelShape, shrink_shape


def _make_llama(hidden: int, channels: int, blocks: int, heads: int, kv_heads: int) -> ModelShape:
    block = BlockShape(heads=heads, kv_heads=kv_heads, channels=channels)
    return ModelShape(hidden=hidden, vocabulary=32_000, head_dim=128, tied=False, blocks=(block,) * blocks)


MODELS: Mapping[str, ModelShape] = {
    "Llama-2 7B": _make_llama(4096, 11_008, 32, 32, 32),
    "Llama-2 13B": _make_llama(5120, 13_824, 40, 40, 40),
    "Llama-2 70B": _make_llama(8192, 28_672, 80, 64, 8),
}
"""Sizes as in the models' own config.json [Llama2]_."""


@dataclass(frozen=True)
class Gpu:
    """A GPU and what is assumed of it.

    Attributes:
        name: As its maker calls it.
        peak: Dense bfloat16 operations a second, from the data sheet.
        memory: Bytes, from the data sheet.
        bandwidth: Bytes a second, from the data sheet.
        product_share: Assumed share of `peak` that products reach.
        bandwidth_share: Assumed share of `bandwidth` around them.
        quantised_share: Assumed speed of products with quantised weights, relative to bfloat16.
        context: Assumed bytes of the driver and of libraries.
        reading: Assumed bytes a second at which weights are read from storage.
    """

    name: str
    peak: float
    memory: float
    bandwidth: float
    product_share: float = 0.40
    bandwidth_share: float = 0.60
    quantised_share: float = 0.70
    context: float = 1.5e9
    reading: float = 2e9

    def compute_seconds(self, cost: Cost, *, quantised: bool) -> float:
        """Return how long one GPU takes."""
        speed = self.peak * self.product_share * (self.quantised_share if quantised else 1.0)
        return cost.operations / speed + 2.0 * cost.moved / (self.bandwidth * self.bandwidth_share)


H100 = Gpu(name="H100 SXM 80 GB", peak=989.4e12, memory=80e9, bandwidth=3.35e12)


@dataclass(frozen=True)
class Job:
    """A whole job, as it would be run at that size.

    Attributes:
        rank: Rank of uniform, which sets the budget.
        length: Tokens per sequence; all are taken to be full.
        micro_batch: Sequences on one GPU at a time.
        batch: Sequences per step.
        trial_steps: Steps of a trial.
        held_out: Sequences scored after it.
        rates: Learning rates tried.
        evaluations: Allocations measured.
        width: Most allocations that the search asks for at a time.
        confirmations: Trials of the verdict.
        final_tokens: Tokens of one full fine-tune.
        calibration: Sequences of Taylor importance, 64 tokens each.
    """

    rank: int = 8
    length: int = 256
    micro_batch: int = 4
    batch: int = 64
    trial_steps: int = 32
    held_out: int = 128
    rates: int = 3
    evaluations: int = 48
    width: int = 8
    confirmations: int = 10
    final_tokens: float = 50_000 * 2 * 256
    calibration: int = 10


def describe_memory(shape: ModelShape, *, gpu: Gpu = H100, job: Job | None = None) -> dict[str, Any]:
    """Count what one GPU holds, per precision of the frozen linears, in bytes.

    Returns:
        `parameters`, `pruned_parameters`, `weights` and `training` per precision (with and without
        gradient checkpointing), and `pruning` with Taylor importance in bfloat16.
    """
    job = job if job is not None else Job()
    pruned = prune_shape(shape)
    adapter = count_adapter(pruned, job.rank)
    work = _make_work(job, job.micro_batch)
    calibration = Work(64 * job.calibration, 63 * job.calibration, 64)
    found: dict[str, Any] = {
        "parameters": shape.parameters,
        "pruned_parameters": pruned.parameters,
        "adapter_parameters": adapter,
        "pruning": gpu.context + count_taylor_bytes(shape, calibration, dtype="bfloat16"),
        "plain_pruning": gpu.context
        + count_weight_bytes(shape, dtype="bfloat16")
        + WEIGHT_BYTES["bfloat16"] * shape.parameters,
        "weights": {},
        "training": {},
        "checkpointed": {},
    }
    for kind in ("bfloat16", "int8", "nf4"):
        quantise = None if kind == "bfloat16" else kind
        found["weights"][kind] = count_weight_bytes(pruned, dtype="bfloat16", quantise=quantise)
        scoring = count_scoring_bytes(pruned, work, dtype="bfloat16", quantise=quantise)
        for key, recompute in (("training", False), ("checkpointed", True)):
            training = count_training_bytes(
                pruned, work, adapter=adapter, dtype="bfloat16", quantise=quantise, recompute=recompute
            )
            found[key][kind] = gpu.context + max(training, scoring)
    return found


@dataclass(frozen=True)
class Fit:
    """How one GPU trains a model: precision of the frozen linears, and whether activations are recomputed."""

    kind: str
    recompute: bool


def choose_fit(memory: Mapping[str, Any], *, gpu: Gpu = H100) -> Fit | None:
    """Choose the fastest way that fits one GPU with a tenth to spare; None if none does."""
    for kind in ("bfloat16", "nf4"):
        for recompute, key in ((False, "training"), (True, "checkpointed")):
            if memory[key][kind] <= 0.9 * gpu.memory:
                return Fit(kind=kind, recompute=recompute)
    return None


def describe_times(
    shape: ModelShape, fit: Fit, *, gpus: int, gpu: Gpu = H100, job: Job | None = None
) -> dict[str, float]:
    """Count seconds of a job whose trials run one per GPU.

    Returns:
        `trial` (seconds), `trials_per_hour` (independent ones), `search` (seconds of tuning, search and
        verdict, with loading and pruning once), `final` (seconds of one full fine-tune over all GPUs that
        share a batch), `pruning` (seconds).
    """
    job = job if job is not None else Job()
    pruned, quantised = prune_shape(shape), fit.kind != "bfloat16"
    adapter = count_adapter(pruned, job.rank)

    def train(sequences: float) -> float:
        work = _make_work(job, sequences)
        cost = count_training(pruned, work, adapter=adapter, recompute=fit.recompute)
        return gpu.compute_seconds(cost, quantised=quantised)

    trial = train(job.trial_steps * job.batch)
    trial += gpu.compute_seconds(count_forward(pruned, _make_work(job, job.held_out)), quantised=quantised)
    calibration = Work(64 * job.calibration, 63 * job.calibration, 64)
    pruning = gpu.compute_seconds(count_taylor(shape, calibration), quantised=False)
    loading = count_weight_bytes(shape, dtype="bfloat16") / gpu.reading
    rounds = math.ceil(job.rates / gpus) + math.ceil(job.confirmations / gpus)
    rounds += math.ceil(job.evaluations / min(gpus, job.width))
    sharing = min(gpus, job.batch)
    return {
        "trial": trial,
        "trials_per_hour": gpus * 3600 / trial,
        "pruning": pruning,
        "search": 2 * loading + pruning + rounds * trial,
        "final": loading + train(job.final_tokens / job.length) / sharing,
    }


def prune_shape(shape: ModelShape) -> ModelShape:
    """Return the sizes after pruning 20 % of every block, as a run does by default."""
    from rankadaptor.config.sections import PruneSection

    return shrink_shape(shape, PruneSection(ratio=0.2))


def count_adapter(shape: ModelShape, rank: int) -> int:
    """Count the parameters of a uniform adapter on every linear."""
    return sum(rank * (linear.in_features + linear.out_features) for linear in shape.linears)


def _make_work(job: Job, sequences: float) -> Work:
    return Work(sequences * job.length, sequences * (job.length - 1), job.length)
