"""Tokens per second of a fine-tune, beside the plain loop of `transformers.Trainer` and PEFT.

    python -m experiments.bench.speed [--pairs 5] [--case alpaca]

Both train the same model from the same adapter on the same batches at the same rate, in turn and in one
process, in the precision that the machine chooses (and once in bfloat16), on one thread. Tokens are real
ones: padding counts for neither, and a beginning that several rows share counts in each of them for both. The
losses of all steps are compared too. In the cases that distil, both follow the same teacher.
`tokens_per_second_ratio` and `matmul_share` at the top of the result are those of `alpaca`.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.bench.document import RESULTS, merge_results, summarise
from experiments.bench.operations import count_operations, measure_products
from experiments.bench.plain import train_plainly
from rankadaptor.components.adapter import RankSpace
from rankadaptor.components.adapter.lora import attach_adapter
from rankadaptor.data import draw_batches, load_rows, tokenise_rows
from rankadaptor.data.sequences import TokenSequence
from rankadaptor.named_models import load
from rankadaptor.pruning import prune
from rankadaptor.recipe import PLAIN, Recipe
from rankadaptor.runtime import Compute, choose_compute
from rankadaptor.training import fine_tune
from rankadaptor.training.packing import pack_sequences

logger = logging.getLogger(__name__)
TARGET, DISTILL_TARGET, SHARE_TARGET = 1.6, 1.5, 0.75
PRUNED = 0.25  # of what may be cut in all blocks but four: about a fifth of all blocks


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        what: In words.
        data: Kit rows.
        rank: Rank of every linear.
        batch_size: Sequences per step.
        steps: Steps of one measurement.
        small: Whether the model is a small Llama with random weights instead of the kit's.
        dtype: Precision, `auto` for the machine's choice.
        loss: As in the recipe; with another than `plain` the model is pruned first, and the dense one is the
            teacher of both loops.
    """

    what: str
    data: str
    rank: int = 8
    batch_size: int = 8
    steps: int = 2
    small: bool = False
    dtype: str = "auto"
    loss: str = PLAIN


CASES = {
    "alpaca": Case("SmolLM2-135M on instruction rows, 8 x 128 tokens at most", "kit:alpaca"),
    "text": Case("SmolLM2-135M on text cut into full pieces, 8 x 128 tokens: no padding", "kit:c4"),
    "small": Case(
        "Llama of 2.1M parameters (8 blocks of 128, vocabulary 4096) on text, 16 x 128 tokens",
        "kit:c4", rank=4, batch_size=16, steps=8, small=True,
    ),
    "bfloat16": Case(
        "SmolLM2-135M on instruction rows in bfloat16, which this machine emulates", "kit:alpaca",
        dtype="bfloat16",
    ),
    "distill": Case(
        "SmolLM2-135M without a fifth of its heads and channels, distilled from the dense model, on "
        "instruction rows, 8 x 128 tokens at most",
        "kit:alpaca", steps=1, dtype="float32", loss="distill",
    ),
    "distill_text": Case(
        "the same distillation on text cut into full pieces, 8 x 128 tokens: no padding", "kit:c4",
        steps=1, dtype="float32", loss="distill",
    ),
}  # fmt: skip


def measure_case(case: Case, *, pairs: int) -> dict[str, Any]:
    """Measure one case, a warm-up and `pairs` times both loops in turn."""
    compute = choose_compute(dtype=case.dtype)
    compute.apply()
    model, sequences, pad_id = _prepare(case, compute)
    recipe = Recipe(
        batch_size=case.batch_size, micro_batch_size=case.batch_size, schedule="constant", warmup_share=0.0,
        loss=case.loss,
    )  # fmt: skip
    teacher = model if recipe.needs_teacher else None
    if teacher is not None:
        model = prune(teacher, None, ratio=PRUNED, importance="l2", skip_first=2, skip_last=2)
    allocation = RankSpace.from_model(model, like_uniform=case.rank, slots="linear").reference()
    adapted = {
        way: attach_adapter(copy.deepcopy(model), allocation, recipe, seed=0) for way in ("ours", "plain")
    }
    speeds: dict[str, list[float]] = {"ours": [], "plain": []}
    shares, products, differences, computed, taught = [], [], [], [], []
    for pair in range(-1, pairs):
        steps = case.steps if pair >= 0 else 1
        drawn = draw_batches(len(sequences), batch_size=case.batch_size, steps=steps, seed=pair + 1)
        batches = [[sequences[index] for index in indices] for indices in drawn]
        seen = [sequence for batch in batches for sequence in batch]
        packed = [pack_sequences(batch, device="cpu") for batch in batches]
        losses: dict[str, Sequence[float]] = {}
        for way in ("ours", "plain") if pair % 2 else ("plain", "ours"):
            rate = measure_products(compute)
            if way == "plain":
                losses[way], seconds = train_plainly(
                    adapted[way], seen, recipe=recipe, compute=compute, pad_id=pad_id, teacher=teacher
                )
            else:
                result = fine_tune(
                    adapted[way], sequences, recipe=recipe, steps=steps, seed=pair + 1, compute=compute,
                    teacher=teacher,
                )  # fmt: skip
                losses[way], seconds = result.losses, result.seconds
                rate = (rate + measure_products(compute)) / 2
            if pair < 0:
                continue
            speeds[way].append(sum(map(len, seen)) / seconds)
            if way == "ours":
                products.append(rate)
                needed = count_operations(model, packed, rank=case.rank)
                if teacher is not None:
                    needed += count_operations(teacher, packed, training=False)
                    taught.append(result.teacher_seconds / seconds)
                shares.append(needed / seconds / rate)
        computed.append(sum(len(batch.input_ids) for batch in packed) / sum(map(len, seen)))
        differences.append(max(abs(a - b) for a, b in zip(losses["ours"], losses["plain"], strict=True)))
        if pair >= 0:
            logger.info(
                "%.1f tokens/s, plain loop %.1f, share of products %.2f",
                speeds["ours"][-1], speeds["plain"][-1], shares[-1],
            )  # fmt: skip
    ratios = [ours / plain for ours, plain in zip(speeds["ours"], speeds["plain"], strict=True)]
    return {
        "what": case.what,
        "rank": case.rank,
        "dtype": compute.dtype,
        "steps_per_measurement": case.steps,
        **summarise("tokens_per_second_ratio", ratios),
        **summarise("matmul_share", shares),
        "tokens_per_second": {way: round(statistics.median(values), 1) for way, values in speeds.items()},
        "pairs": [
            {"ours": round(ours, 2), "plain": round(plain, 2), "matmul_share": round(share, 4)}
            for ours, plain, share in zip(speeds["ours"], speeds["plain"], shares, strict=True)
        ],
        **({"teacher_share_of_seconds": round(statistics.median(taught), 3)} if taught else {}),
        "matrix_product_gflops": round(statistics.median(products) / 1e9, 1),
        "largest_loss_difference": max(differences),
        "real_share_of_padded_tokens": round(_measure_fill(sequences, case.batch_size), 3),
        "computed_share_of_real_tokens": round(statistics.mean(computed), 3),  # shared beginnings once
        "labelled_share_of_tokens": round(
            sum(sequence.targets for sequence in sequences) / sum(map(len, sequences)), 3
        ),
    }


def measure_speed(*, pairs: int, cases: Sequence[str]) -> dict[str, Any]:
    """Measure cases; the top-level keys are those of `alpaca`."""
    compute = choose_compute()
    found: dict[str, Any] = {}
    for name in cases:
        logger.info(CASES[name].what)
        found[f"speed_{name}"] = case = measure_case(CASES[name], pairs=pairs)
        top = ("tokens_per_second_ratio", "matmul")
        if name == "alpaca":
            found |= {key: value for key, value in case.items() if key.startswith(top)}
            found |= {"dtype": compute.dtype, "dtype_reason": compute.reason, "threads": compute.threads}
        if name == "distill":
            found |= {f"distill_{key}": value for key, value in case.items() if key.startswith(top[0])}
    return {
        "targets": {
            "tokens_per_second_ratio": TARGET,
            "distill_tokens_per_second_ratio": DISTILL_TARGET,
            "matmul_share": SHARE_TARGET,
        },
        **found,
    }


def _prepare(case: Case, compute: Compute) -> tuple[Any, list[TokenSequence], int]:
    model, tokenizer = load("kit:smollm2-135m", compute=compute)
    sequences = tokenise_rows(load_rows(case.data, limit=400), tokenizer, max_length=128)
    if not case.small:
        return model, sequences, int(tokenizer.pad_token_id)
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=4096, hidden_size=128, intermediate_size=344, num_hidden_layers=8, num_attention_heads=4,
        num_key_value_heads=4, tie_word_embeddings=True, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    small = LlamaForCausalLM(config).to(compute.device, compute.torch_dtype).eval()
    # Other words for other tokens: only speed is measured, and the two loops see the same ones.
    folded = [
        TokenSequence(
            tuple(token % 4096 for token in sequence.input_ids),
            tuple(label % 4096 if label >= 0 else label for label in sequence.labels),
        )
        for sequence in sequences
    ]
    return small, folded, 0


def _measure_fill(sequences: Sequence[TokenSequence], batch_size: int) -> float:
    shares = []
    for indices in draw_batches(len(sequences), batch_size=batch_size, steps=50, seed=1):
        lengths = [len(sequences[index]) for index in indices]
        shares.append(sum(lengths) / (max(lengths) * batch_size))
    return statistics.mean(shares)


def main() -> None:
    """Measure and merge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    cases = list(CASES) if given.case == "all" else [given.case]
    found = measure_speed(pairs=given.pairs, cases=cases)
    whole = given.case == "all"
    merge_results("speed" if whole else f"speed_{given.case}", found, path=given.results, whole=whole)
    for name in cases:
        case = found[f"speed_{name}"]
        logger.info(
            "%s: %s times the plain loop, %s of the products",
            name,
            case["tokens_per_second_ratio"],
            case["matmul_share"],
        )


if __name__ == "__main__":
    main()
