"""What the frontier has to show, and whether it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from experiments.frontier.rows import OURS, Row
from rankadaptor.results.table import Table, write_gain

TEXTS = {"loss_judging": "judging text", "loss_other": "text of another domain"}
LARGEST_STOCK = 94e6
FREE = "Q4_1"
"""The stock type whose grid the kit's dense weights lie on."""

Test = Callable[[Row], bool]


def build_targets(rows: Sequence[Row]) -> Table:
    """Compare our files with the references that each target names, on both texts.

    A margin is the loss of the best reference minus ours, in nats per token. Recovered files are compared
    with recovered references, others with others.
    """
    lines = []
    for limit, wanted, name, is_reference in _list_targets():
        for recovered in (False, True):
            ours = [row for row in rows if _is(row, OURS, recovered) and row["limit"] == limit]
            others = [row for row in rows if row["recovered"] == recovered and is_reference(row)]
            if not ours or not others:
                continue
            margins = [min(row[key] for row in others) - ours[0][key] for key in TEXTS]
            met = "yes" if min(margins) >= wanted else "no"
            state = "recovered" if recovered else "not recovered"
            lines.append((f"{limit}, {state}: {name}", write_gain(wanted), *map(write_gain, margins), met))
    return Table(
        name="targets",
        title="Margins over the references, in nats per token",
        header=("against", "target", *TEXTS.values(), "met"),
        rows=tuple(lines),
    )


def _list_targets() -> list[tuple[str, float, str, Test]]:
    def is_stock(row: Row) -> bool:
        return row["kind"] == "stock" and row["bytes"] <= LARGEST_STOCK and FREE not in row["method"]

    def is_rule(limit: str, names: tuple[str, ...]) -> Test:
        return lambda row: row["limit"] == limit and str(row["method"]).startswith(names)

    targets: list[tuple[str, float, str, Test]] = [
        ("90MB", 0.1, "stock files up to 94 MB, other than Q4_1", is_stock),
        ("75MB", 0.0, "stock files up to 94 MB, other than Q4_1", is_stock),
    ]
    for limit in ("60MB", "45MB"):
        targets += [
            (limit, 0.2, "uniform widths", is_rule(limit, ("uniform",))),
            (limit, 0.05, "Taylor, FLAP, Block Influence", is_rule(limit, ("taylor", "flap", "block"))),
        ]
    for limit in ("90MB", "75MB", "60MB", "45MB"):
        targets.append((limit, 0.0, "widths first, types second", is_rule(limit, ("sequential",))))
    return targets


def _is(row: Row, kind: str, recovered: bool) -> bool:
    return bool(row["kind"] == kind and row["recovered"] == recovered)


def find_speedup(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Compare speeds at the loss of the best stock file up to 94 MB.

    Returns:
        `reference`, `ours` (method names), `prompt` and `generate` (ratios of tokens per second); None where
        no file of ours is as good on both texts, or no speed was measured.
    """
    stock = [
        row
        for row in rows
        if row["kind"] == "stock" and row["bytes"] <= LARGEST_STOCK and FREE not in row["method"]
        and row["prompt_tokens_per_second"]
    ]  # fmt: skip
    if not stock:
        return None
    best = min(stock, key=lambda row: row["loss_judging"] + row["loss_other"])
    ours = [
        row
        for row in rows
        if row["kind"] == OURS
        and row["prompt_tokens_per_second"]
        and all(row[key] <= best[key] for key in TEXTS)
    ]
    if not ours:
        return None
    fastest = max(ours, key=lambda row: row["prompt_tokens_per_second"])
    return {
        "reference": best["method"],
        "ours": f"{fastest['method']} at {fastest['limit']}",
        "prompt": fastest["prompt_tokens_per_second"] / best["prompt_tokens_per_second"],
        "generate": fastest["generate_tokens_per_second"] / best["generate_tokens_per_second"],
    }
