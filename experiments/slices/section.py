"""The section of docs/compress.md on the cost of scores and the errors of planned latency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

SPEED_TARGET, REUSE_TARGET, ERROR_TARGET = 0.9, 1.7, 0.1
Row = dict[str, Any]


def describe_scores(rows: Sequence[Row]) -> str:
    """Return the section as Markdown; empty without rows."""
    if not rows:
        return ""
    parts = ["## What a score costs, and planned latency\n", *_describe_costs(rows)]
    latency = [row for row in rows if row["part"] == "latency"]
    if latency:
        parts += [_list_latency(latency), _describe_errors(latency)]
    return "\n".join(parts)


def _describe_costs(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["part"] == "speed":
            yield (
                f"{row['setting']}: a score passes {row['slice_tokens_per_second']:.0f} tokens per second "
                f"through the model, {row['ratio']:.2f} times a plain forward pass with logits "
                f"(target {SPEED_TARGET}), on one thread in float32.\n"
            )
        if row["part"] == "reuse":
            equal = "the same" if row["equal"] else "not the same"
            yield (
                f"{row['setting']}: a sweep of one change in each of {row['scores']} slots is "
                f"{row['ratio']:.2f} times faster with shared hidden states (target {REUSE_TARGET}); scores "
                f"are {equal}. Counted in weights that are multiplied, it needs {row['bound']:.2f} times "
                "fewer; more cannot be saved, because a change halfway through the blocks shares half of "
                "them, the output head is always computed, and the hidden states are computed once.\n"
            )


def _list_latency(rows: Sequence[Row]) -> str:
    lines = [
        "Time per token on llama.cpp as a share of the dense model's, planned from measurements of types and "
        "widths, and measured on the file in turn with the dense model's. The last file is the exact optimum "
        "of random values.\n",
        "| file | limit | prompt: planned | measured | error | generation: planned | measured | error |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [
            cell
            for phase in ("prompt", "generate")
            for cell in (
                f"{row[f'{phase}_planned']:.3f}",
                f"{row[f'{phase}_measured']:.3f}",
                f"{row[f'{phase}_error']:+.1%}".replace("-", "−"),
            )
        ]
        lines.append(f"| {row['file']} | {row['limit']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _describe_errors(rows: Sequence[Row]) -> str:
    errors = [abs(row[f"{phase}_error"]) for row in rows for phase in ("prompt", "generate")]
    inside = sum(error <= ERROR_TARGET for error in errors)
    return (
        f"The largest error is {max(errors):.1%}; {inside} of {len(errors)} are within {ERROR_TARGET:.0%}.\n"
    )
