"""What the figures of a run's plan rest on, in words."""

from __future__ import annotations

from collections.abc import Mapping

from rankadaptor.config import RunConfig
from rankadaptor.config.measure_section import SCORES
from rankadaptor.config.stages import TRAINED
from rankadaptor.planning.lengths import guess_row
from rankadaptor.planning.rates import Rate
from rankadaptor.runtime import count_cores, fit_workers
from rankadaptor.search.proposals import describe_rule

# Rows a benchmark scores, and tokens per question with all its answers, as SmolLM2's tokenizer counts them.
BENCHMARKS: Mapping[str, tuple[int, int]] = {
    "boolq": (3270, 290),
    "piqa": (1838, 90),
    "hellaswag": (10042, 400),
    "winogrande": (1267, 56),
    "arc_easy": (2376, 130),
    "arc_challenge": (1172, 160),
    "openbookqa": (500, 80),
}
UNKNOWN_BENCHMARK = (2000, 300)


def _describe_lengths(config: RunConfig) -> str:
    row = guess_row(config.data.train, length=config.recipe.sequence_length)
    if row.known:
        return f"Rows of {config.data.train} have {row.tokens:.0f} tokens on average, as measured earlier."
    return "Sequences are assumed full: tokens and times are upper bounds for short rows."


def list_assumptions(config: RunConfig, rate: Rate) -> list[str]:
    """Return the assumptions of a plan's figures, one sentence each."""
    notes = [
        f"{rate.flops / 1e9:,.0f} GFLOP/s a process: {rate.source}.",
        _describe_lengths(config),
    ]
    if config.prune is not None:
        notes.append("Sizes after pruning assume that every block loses the same share.")
    if config.recipe.needs_teacher:
        notes.append(
            "Fine-tunes follow the model before pruning: its passes over each batch and its weights are "
            "counted, its tokens are not."
        )
    if (workers := count_workers(config)) < config.compute.workers:
        notes.append(
            f"compute.workers {config.compute.workers} x compute.threads {config.compute.threads} exceed "
            f"the {count_cores()} cores here: {workers} trials at a time."
        )
    if config.quantise is not None or config.recipe.gradient_checkpointing:
        notes.append(
            "On a CPU, quantised weights or gradient checkpointing need up to twice the memory counted here."
        )
    unknown = [name for name in config.evaluate.benchmarks if name not in BENCHMARKS]
    if unknown:
        notes.append(
            f"Length of {', '.join(unknown)} is unknown; assumed to be {UNKNOWN_BENCHMARK[0]} questions."
        )
    return notes


def describe_search(config: RunConfig) -> list[str]:
    """Describe how many allocations each acquisition function chooses."""
    given = config.search
    if config.measure.kind in SCORES:
        return []
    rule = describe_rule(
        given.proposal,
        evaluations=given.evaluations,
        batch=given.batch,
        mean_until=given.mean_until,
        trained=given.predictor in TRAINED,
    )
    return [f"Search: {rule}"]


def count_workers(config: RunConfig) -> int:
    """Return how many processes share the trials of a run."""
    given = config.compute
    if given.executor != "local":
        return given.workers
    return fit_workers(given.workers, threads=given.threads)
