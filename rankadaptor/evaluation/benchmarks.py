"""Zero-shot accuracy of a model in memory on the seven benchmarks, through lm-eval."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.evaluation.definitions import METRICS, Definition, load_definitions, locate_benchmarks
from rankadaptor.evaluation.scores import Differences, Score, Scores, compare_scores
from rankadaptor.files import compute_digest
from rankadaptor.requirements import LM_EVAL, load_package

if TYPE_CHECKING:
    from rankadaptor.runtime import Compute

logger = logging.getLogger(__name__)

BENCHMARKS = tuple(METRICS)

__all__ = ["BENCHMARKS", "Differences", "Score", "Scores", "compare_scores", "evaluate"]


def evaluate(
    model: Any,
    tokenizer: Any,
    *,
    benchmarks: Sequence[str | Path] = BENCHMARKS,
    limit: int | None = None,
    batch_size: int = 8,
    compute: Compute | None = None,
    seed: int = 0,
) -> Scores:
    """Score a model zero-shot on benchmarks.

    Plain models, pruned models with uneven blocks and models with an adapter are all accepted. With the same
    `limit` and `seed`, every model gets the same items, so that `compare_scores` can pair them.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer, used without a chat template or further special tokens.
        benchmarks: Names of the kit's seven, paths of task files of lm-eval (`.yaml`), or `hub:NAME` for any
            task of lm-eval (needs access to the hub).
        limit: Maximum number of items per benchmark, chosen at random with `seed`; None takes all.
        batch_size: Sequences per forward pass.
        compute: Device and threads; the model is moved to the device. None leaves it where it is.
        seed: Seed of the choice of items under a limit.

    Raises:
        InputError: If a benchmark is unknown or unreadable, a number is out of range, or lm-eval does not
            load.
        StorageError: If the kit's rows cannot be fetched.
    """
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size}: must be at least 1.")
    locate_benchmarks(benchmarks, limit=limit)
    load_package(LM_EVAL)
    started = time.monotonic()
    if compute is not None:
        compute.apply()
        model.to(compute.device)
    from lm_eval.evaluator import evaluate as run_harness

    from rankadaptor.evaluation.harness import ModelInMemory, contain

    training = model.training
    with contain():
        definitions = load_definitions(benchmarks, limit=limit, seed=seed)
        interface = ModelInMemory(model, tokenizer, batch_size=batch_size)
        try:
            results = run_harness(
                lm=interface,
                task_dict={
                    "tasks": {each.name: each.task for each in definitions},
                    "groups": {},
                    "group_map": {},
                },
                samples={
                    each.name: list(each.positions) for each in definitions if each.positions is not None
                },
                bootstrap_iters=0,
                log_samples=True,
            )
        finally:
            model.train(training)
    scores = Scores(
        benchmarks=tuple(_read_score(each, results["samples"][each.name]) for each in definitions),
        seed=seed,
        limit=limit,
        seconds=round(time.monotonic() - started, 2),
        tokens=interface.tokens,
    )
    count = sum(score.n for score in scores.benchmarks)
    logger.info(
        "evaluate: mean accuracy %.3f over %d benchmarks (%d items, %d tokens, %.0f s)",
        scores.mean, len(definitions), count, scores.tokens, scores.seconds,
    )  # fmt: skip
    return scores


def _read_score(definition: Definition, samples: list[dict[str, Any]]) -> Score:
    filtered = samples[0]["filter"]  # if a benchmark has several answer filters, the first one is used
    answers = sorted(
        (each for each in samples if each["filter"] == filtered), key=lambda each: each["doc_id"]
    )
    numeric = [name for name in answers[0]["metrics"] if isinstance(answers[0][name], int | float)]
    metric = definition.choose_metric(numeric)
    return Score(
        benchmark=definition.name,
        metric=metric,
        correct=tuple(float(each[metric]) for each in answers),
        items=definition.items,
        digest=compute_digest([each["doc_hash"] for each in answers]),
    )
