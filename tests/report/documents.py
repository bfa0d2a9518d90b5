"""A synthetic result document, true to the schema; its numbers are drawn from a seed and mean nothing."""

from __future__ import annotations

import random
from typing import Any

BENCHMARKS = {
    "boolq": ("acc", 0.58, 500),
    "piqa": ("acc", 0.66, 500),
    "hellaswag": ("acc_norm", 0.41, 500),
    "winogrande": ("acc", 0.52, 500),
    "arc_easy": ("acc", 0.55, 500),
    "arc_challenge": ("acc_norm", 0.28, 500),
    "openbookqa": ("acc_norm", 0.31, 500),
}
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
HALVES = {"attention": KINDS[:4], "mlp": KINDS[4:]}


def make_document(
    *, n_blocks: int = 12, slots: str = "half_block", outcome: str = "no difference", seed: int = 0
) -> dict[str, Any]:
    """Make a whole result document of a run that finished."""
    draw = random.Random(seed)
    slot_list = _make_slots(n_blocks, slots)
    reference = [8] * len(slot_list)
    candidate = [draw.choice([0, 2, 4, 8, 12, 16, 32]) for _ in slot_list]
    history = _make_history(draw, reference, len(slot_list), evaluations=12)
    gains = {
        "better": [0.0061, 0.0048, 0.0071, 0.0055, 0.0063],
        "no difference": [0.0031, -0.0022, 0.0041, 0.0004, -0.0011],
        "worse": [-0.0061, -0.0048, -0.0071, -0.0055, -0.0063],
    }[outcome]
    mean = sum(gains) / len(gains)
    noise = (sum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1)) ** 0.5
    half_width = 2.776 * noise / 5**0.5
    return {
        "schema": 1,
        "run": {
            "name": "pico-demo",
            "digest": "0123456789abcdef",
            "commit": "abcdef012345",
            "seed": 0,
            "started": "2026-11-21T10:00:00+00:00",
            "finished": "2026-11-21T11:05:10+00:00",
            "seconds": 3910.0,
            "config": {
                "model": "kit:smollm2-135m",
                "prune": {"ratio": 0.2},
                "space": {"slots": slots, "like_uniform": 8},
                "search": {"predictor": "meta", "evaluations": 12, "steps": 24},
                "recover": {"steps": 100},
                "seed": 0,
            },
        },
        "result": {
            "compute": {"device": "cpu", "dtype": "float32", "quantise": None, "threads": 1},
            "pruning": _make_pruning(draw, n_blocks),
            "losses": {"dense": 2.913, "pruned": 4.317},
            "recipe": {
                "learning_rate": 0.003,
                "scaling_exponent": 1.0,
                "scale_at_reference": 2.0,
                "reference_rank": 8,
                "batch_size": 8,
                "micro_batch_size": 8,
                "sequence_length": 128,
                "steps": 100,
                "warmup_share": 0.06,
                "schedule": "cosine",
                "weight_decay": 0.0,
                "gradient_clip": 1.0,
                "dropout": 0.0,
                "gradient_checkpointing": False,
            },
            "tuning": [
                {"learning_rate": 0.001, "scaling_exponent": 1.0, "loss": 3.651, "status": "ok"},
                {"learning_rate": 0.003, "scaling_exponent": 1.0, "loss": 3.512, "status": "ok"},
                {"learning_rate": 0.03, "scaling_exponent": 1.0, "loss": None, "status": "failed"},
            ],
            "choice": {
                "changes": {"learning_rate": 0.003},
                "share": 0.4,
                "rungs": [
                    [
                        {"changes": {"learning_rate": rate}, "steps": 20, "rate": 2 * rate, "loss": loss}
                        for rate, loss in ((0.001, 3.612), (0.003, 3.571), (0.03, None))
                    ],
                    [{"changes": {"learning_rate": 0.003}, "steps": 40, "rate": 0.004, "loss": 3.501}],
                ],
                "left_out": [{"learning_rate": 0.1}],
            },
            "space": {
                "slots": slot_list,
                "budget": 2_442_240,
                "reference": reference,
                "mode": "parameters",
            },
            "search": {
                "predictor": "meta",
                "proposal": "expected_improvement",
                "evaluations": 12,
                "steps": 24,
                "best": candidate,
                "history": history,
            },
            "verdict": {
                "outcome": outcome,
                "gain": mean,
                "low": mean - half_width,
                "high": mean + half_width,
                "noise": noise,
                "seeds": [1000, 1001, 1002, 1003, 1004],
                "gains": gains,
                "candidate": candidate,
                "allocation": candidate if outcome == "better" else reference,
                "steps": 24,
                "sentence": f"{outcome}: gain {mean:+.4f} nats per token.",
            },
            "recovered": {
                "uniform": _make_recovery(3.402, 2_442_240, 0.0),
                "searched": _make_recovery(3.399, 2_441_088, 0.004),
                "random": _make_recovery(3.409, 2_440_000, -0.006),
            },
            "benchmarks": _make_benchmarks(draw),
            "benchmark_differences": {
                "searched-uniform": {
                    **{
                        name: {"difference": draw.gauss(0, 0.008), "standard_error": 0.011}
                        for name in BENCHMARKS
                    },
                    "mean": {"difference": 0.0021, "standard_error": 0.0043},
                }
            },
            "cost": {
                "tokens_trained": {"tuning": 73728, "search": 319488, "confirm": 245760, "recover": 204800},
                "seconds": {
                    "prune": 41.0,
                    "tuning": 480.0,
                    "search": 2090.0,
                    "confirm": 1610.0,
                    "recover": 1340.0,
                },
            },
        },
        "environment": {
            "rankadaptor": "0.1.0",
            "python": "3.11.2",
            "system": "Linux",
            "machine": "x86_64",
            "cores": 2,
            "packages": {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
            "commit": "abcdef012345",
        },
    }


def _make_slots(n_blocks: int, slots: str) -> list[dict[str, Any]]:
    names = {"block": {"block": KINDS}, "half_block": HALVES, "linear": {kind: (kind,) for kind in KINDS}}[
        slots
    ]
    return [
        {
            "name": f"{block}.{kind}", "kind": kind, "block": block,
            "modules": [
                f"model.layers.{block}.{'self_attn' if linear in KINDS[:4] else 'mlp'}.{linear}" for linear
                in linears
            ],
        }
        for block in range(n_blocks)
        for kind, linears in names.items()
    ]  # fmt: skip


def _make_history(
    draw: random.Random, reference: list[int], n_slots: int, *, evaluations: int
) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = []
    best = 0.0
    for evaluation in range(1, evaluations + 1):
        failed = evaluation == 5
        gain = None if failed else draw.gauss(0.0005 * evaluation - 0.004, 0.003)
        best = max(best, gain or 0.0)
        predicted = None if evaluation <= 3 else (gain or 0.0) * 0.5 + draw.gauss(0, 0.001)
        history.append(
            {
                "evaluation": evaluation, "values": [draw.choice([0, 4, 8, 16]) for _ in range(n_slots)],
                "predicted_mean": predicted, "predicted_std": None if predicted is None else 0.0022,
                "gain": gain, "best_gain": best, "status": "failed" if failed else "ok",
            }
        )  # fmt: skip
    return history


def _make_pruning(draw: random.Random, n_blocks: int) -> dict[str, Any]:
    blocks = []
    for block in range(n_blocks):
        intact = block < 2 or block >= n_blocks - 1
        share = 0.0 if intact else round(draw.uniform(0.1, 0.45), 4)
        blocks.append(
            {
                "block": block, "heads": 9 if intact else 6, "kv_heads": 3 if intact else 2,
                "channels": 1536 if intact else int(1536 * (1 - share)) // 8 * 8, "removed_share": share,
                "lost_importance": 0.0 if intact else round(share * draw.uniform(0.05, 0.5), 4),
            }
        )  # fmt: skip
    return {
        "ratio": 0.2,
        "achieved_ratio": 0.1987,
        "parameters_before": 134_515_008,
        "parameters_after": 107_783_000,
        "macs_before": 8_600_000_000,
        "macs_after": 6_890_000_000,
        "bytes_before": 269_030_016,
        "bytes_after": 215_566_000,
        "tokens_per_second_before": 436.0,
        "tokens_per_second_after": 531.2,
        "blocks": blocks,
    }


def _make_recovery(loss: float, parameters: int, offset: float) -> dict[str, Any]:
    curve = [
        {
            "step": step,
            "tokens": step * 1024,
            "loss": loss + 0.9 * (1 - step / 100) ** 2 - offset * (1 - step / 100),
        }
        for step in (10, 20, 40, 60, 80, 100)
    ]
    return {"loss": loss, "parameters": parameters, "tokens": 102_400, "seconds": 670.0, "curve": curve}


def _make_benchmarks(draw: random.Random) -> dict[str, Any]:
    shifts = {"dense": 0.0, "pruned": -0.09, "uniform": -0.045, "searched": -0.043}
    scores: dict[str, Any] = {}
    for model, shift in shifts.items():
        rows: dict[str, Any] = {}
        for name, (metric, accuracy, n) in BENCHMARKS.items():
            value = accuracy + shift + draw.gauss(0, 0.01)
            error = (value * (1 - value) / n) ** 0.5
            rows[name] = {"metric": metric, "accuracy": value, "standard_error": error, "n": n}
        errors = [row["standard_error"] for row in rows.values()]
        mean = sum(row["accuracy"] for row in rows.values()) / len(rows)
        scores[model] = {
            **rows,
            "mean": mean,
            "mean_standard_error": sum(e * e for e in errors) ** 0.5 / len(errors),
        }
    return scores
