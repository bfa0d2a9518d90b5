"""Measured seconds and memory of trials, beside what the cost model says.

    python -m experiments.scale.measure [--only NAME]

Each case is a fresh process on the CPU with one thread: it loads the model, trains an adapter for a few
steps, scores held-out text, and reports the time of both and the largest resident set. The speed of matrix
products is measured in the same process, before and after. Writes `experiments/results/scale.json`; `--only`
measures one case again and keeps the others, `--again` sets new predictions beside what was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from rankadaptor.files import read_json, write_json
from rankadaptor.planning.costs import Cost, Work, count_forward, count_training, count_training_bytes
from rankadaptor.planning.rates import PROCESS_BYTES, Rate, measure_matmul
from rankadaptor.planning.shape import KIT_CONFIGS, ModelShape, parse_shape
from rankadaptor.runtime import describe_environment

RESULTS = Path("experiments/results/scale.json")
RANK, BATCH, HELD_OUT, SEED = 8, 8, 16, 0
SMALL: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 8,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Case:
    """One trial: a model, a length of sequences, and what else differs from the plainest case."""

    model: str
    length: int
    steps: int
    checkpointing: bool = False
    quantise: str | None = None


CASES = {
    **{f"small-{length}": Case("small", length, 8) for length in (64, 128, 256)},
    **{f"smollm2-{length}": Case("smollm2", length, 2) for length in (64, 128, 256)},
    "smollm2-128-checkpointing": Case("smollm2", 128, 2, checkpointing=True),
    "smollm2-128-nf4": Case("smollm2", 128, 2, quantise="nf4"),
}


def read_case_shape(case: Case) -> ModelShape:
    """Return the sizes of a case's model."""
    return parse_shape(SMALL if case.model == "small" else KIT_CONFIGS["smollm2-135m"], source=case.model)


def predict(case: Case, *, flops: float) -> dict[str, float]:
    """Return seconds and bytes that the cost model foretells for a process of this speed."""
    shape = read_case_shape(case)
    adapter = sum(RANK * (linear.in_features + linear.out_features) for linear in shape.linears)
    batch = Work(BATCH * case.length, BATCH * (case.length - 1), case.length)
    scored = Work(HELD_OUT * case.length, HELD_OUT * (case.length - 1), case.length)
    one = count_training(shape, batch, adapter=adapter, recompute=case.checkpointing)
    training = Cost(case.steps * one.operations, case.steps * one.moved)
    rate = Rate(flops, 4, "measured")
    return {
        "seconds": rate.compute_seconds(training) + rate.compute_seconds(count_forward(shape, scored)),
        "training_seconds": rate.compute_seconds(training),
        "operations": training.operations,
        "moved": training.moved,
        "peak_bytes": PROCESS_BYTES
        + count_training_bytes(
            shape,
            batch,
            adapter=adapter,
            dtype="float32",
            quantise=case.quantise,
            recompute=case.checkpointing,
        ),
    }


def measure_here(case: Case) -> dict[str, float]:
    """Run one case in this process."""
    import resource
    import time

    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    import rankadaptor as ra
    from rankadaptor.components.adapter.lora import attach_adapter
    from rankadaptor.data import load_rows, tokenise_rows
    from rankadaptor.evaluation.heldout import measure_loss
    from rankadaptor.named_models import load_tokenizer
    from rankadaptor.training import fine_tune

    compute = ra.choose_compute(device="cpu", dtype="float32", threads=1, quantise=case.quantise)
    compute.apply()
    tokenizer = load_tokenizer("kit:smollm2-135m")
    if case.model == "small":
        torch.manual_seed(SEED)
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SMALL), dtype=torch.float32).eval()
    else:
        model, _ = ra.load("kit:smollm2-135m", compute=compute)
    sequences = tokenise_rows(load_rows("kit:c4", limit=400), tokenizer, max_length=case.length)
    vocabulary = model.config.vocab_size
    pieces = [
        dataclasses.replace(
            piece,
            input_ids=tuple(token % vocabulary for token in piece.input_ids),
            labels=tuple(token % vocabulary for token in piece.labels),
        )
        for piece in sequences[: BATCH * (case.steps + 1) + HELD_OUT]
    ]
    recipe = ra.Recipe(
        batch_size=BATCH,
        micro_batch_size=BATCH,
        sequence_length=case.length,
        gradient_checkpointing=case.checkpointing,
    )
    space = ra.RankSpace.from_model(model, like_uniform=RANK, slots="linear")
    adapter = attach_adapter(model, space.reference(), recipe, seed=SEED)
    data, held_out = pieces[HELD_OUT:], pieces[:HELD_OUT]
    fine_tune(adapter, data, recipe=recipe, steps=1, seed=SEED, compute=compute)  # first products cost more
    before = measure_matmul(threads=1, seconds=1.0)
    started = time.perf_counter()
    result = fine_tune(adapter, data, recipe=recipe, steps=case.steps, seed=SEED, compute=compute)
    trained = time.perf_counter() - started
    measure_loss(adapter, held_out, compute=compute)
    seconds = time.perf_counter() - started
    return {
        "flops": (before + measure_matmul(threads=1, seconds=1.0)) / 2,
        "seconds": seconds,
        "training_seconds": trained,
        "tokens": result.tokens,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def measure_case(name: str) -> dict[str, Any]:
    """Measure one case in a process of its own and set the prediction beside it."""
    answer = subprocess.run(
        [sys.executable, "-m", "experiments.scale.measure", "--here", name],
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return describe_case(name, measured)


def describe_case(name: str, measured: dict[str, float]) -> dict[str, Any]:
    """Set what the model foretells beside what was measured."""
    case = CASES[name]
    predicted = predict(case, flops=measured["flops"])
    return {
        "case": dataclasses.asdict(case),
        "measured": measured,
        "predicted": predicted,
        **{f"{key}_error": round(predicted[key] / measured[key] - 1, 4) for key in ("seconds", "peak_bytes")},
    }


def is_variant(case: dict[str, Any]) -> bool:
    """Tell whether a case recomputes activations or has quantised weights."""
    return bool(case["checkpointing"] or case["quantise"])


def main() -> None:
    """Measure all cases, or one."""
    parser = argparse.ArgumentParser(
        description="Measured seconds and memory of trials beside predicted ones."
    )
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--again", action="store_true", help="predict again from what was measured before")
    parser.add_argument("--here", choices=CASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        sys.stdout.write(json.dumps(measure_here(CASES[given.here])) + "\n")
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    known: dict[str, Any] = read_json(RESULTS) if RESULTS.is_file() else {}
    cases = known.get("cases", {})
    if given.again:
        cases = {name: describe_case(name, entry["measured"]) for name, entry in cases.items()}
    for name in () if given.again else [given.only] if given.only else CASES:
        cases[name] = measure_case(name)
        entry = cases[name]
        logger.info(
            "%s: %.1f s (%+.0f %%), %.0f MB (%+.0f %%)",
            name, entry["measured"]["seconds"], 100 * entry["seconds_error"],
            entry["measured"]["peak_bytes"] / 1e6, 100 * entry["peak_bytes_error"],
        )  # fmt: skip
    errors = {
        f"largest_{part}{key}_error": max(
            (
                abs(entry[f"{key}_error"])
                for entry in cases.values()
                if is_variant(entry["case"]) == bool(part)
            ),
            default=None,
        )
        for part in ("", "variant_")
        for key in ("seconds", "peak_bytes")
    }
    environment = known.get("environment") if given.again else describe_environment()
    write_json(RESULTS, {"schema": 1, **errors, "cases": cases, "environment": environment})


if __name__ == "__main__":
    main()
