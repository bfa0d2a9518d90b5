"""What the study has to show, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Sequence

from experiments.recovery.rows import AFTERWARDS, LLM_PRUNER_NAME, Row, find_interval, pair_seeds
from experiments.recovery.training import LORA, PLAIN
from rankadaptor.results.table import ABSENT, Table, write_gain, write_interval, write_percent

WANTED_RATIO = 1.5
TEXTS = {"judging": "judging text", "other": "other domain"}
FLOAT, ROUNDED = "float weights", "rounded afterwards"
WANTED_OF_TYPES = {"A3G32": {ROUNDED: 0.2}, "Q4_0": {ROUNDED: 0.0, FLOAT: -0.03}}
"""Type → what training through it is compared with → least gain, nats per token."""
TODAYS_RATE = 3e-3
"""Rate of the default recipe."""


def compare_with_llm_pruner(rows: Sequence[Row]) -> Table:
    """Compare what ours and LLM-Pruner's recipe win back from the same pruned model at equal tokens."""
    lines = []
    for theirs in (row for row in rows if row["method"] == LLM_PRUNER_NAME):
        ours = find_best(rows, theirs)
        if ours is None:
            continue
        for text, name in TEXTS.items():
            before = theirs[f"loss_{text}_pruned"]
            pairs = pair_seeds(ours, theirs, f"losses_{text}")
            gains = [(before - left, before - right) for left, right in pairs]
            ratio, low, high = _find_ratio(gains)
            met = low is not None and low > 1 and ratio >= WANTED_RATIO
            lines.append(
                (
                    _name_model(theirs), f"{theirs['tokens']:,}", name,
                    write_gain(sum(each for each, _ in gains) / len(gains) if gains else None),
                    write_gain(sum(each for _, each in gains) / len(gains) if gains else None),
                    ABSENT if math.isnan(ratio) else f"{ratio:.2f}",
                    ABSENT if low is None else f"{low:.2f} to {high:.2f}",
                    str(len(gains)), "yes" if met else "no",
                )
            )  # fmt: skip
    return Table(
        name="llm-pruner",
        title="Won back from the same pruned model, in nats per token",
        header=(
            "model", "tokens", "text", "ours", "LLM-Pruner's recipe", "ratio", "95 % interval", "seeds",
            f"at least {WANTED_RATIO}",
        ),
        rows=tuple(lines),
        note="The ratio is the geometric mean over paired seeds; where LLM-Pruner's recipe wins nothing back "
        "there is none, and the target counts as missed.",
    )  # fmt: skip


def compare_with_default(rows: Sequence[Row]) -> Table:
    """Compare the tuned recipe with today's default at equal tokens, seed by seed."""
    lines = []
    for default in rows:
        if not is_plain_lora(default) or not math.isclose(default["learning_rate"], TODAYS_RATE):
            continue
        best = find_best(rows, default)
        if best is None or best is default:
            continue
        for text, name in TEXTS.items():
            gains = [right - left for left, right in pair_seeds(best, default, f"losses_{text}")]
            if not gains:
                continue
            gain, low, high = find_interval(gains)
            worse = high is not None and high < 0
            lines.append(
                (
                    _name_model(default), f"{default['tokens']:,}", name,
                    f"{best['method']}, {best['loss_kind']}, {best['learning_rate']:g}", write_gain(gain),
                    write_interval(low, high), str(len(gains)), "no" if worse else "yes",
                )
            )  # fmt: skip
    return Table(
        name="default",
        title="Gain over today's default, in nats per token",
        header=("model", "tokens", "text", "best", "gain", "95 % interval", "seeds", "not worse"),
        rows=tuple(lines),
    )


def compare_losses(rows: Sequence[Row]) -> Table:
    """Compare the losses that can be minimised, each at its own rate, with the plain one."""
    lines = []
    for plain in (row for row in rows if is_plain_lora(row)):
        for other in rows:
            if not _is_same_model(plain, other) or other["loss_kind"] == PLAIN or other["method"] != LORA:
                continue
            for text, name in TEXTS.items():
                gains = [left - right for left, right in pair_seeds(plain, other, f"losses_{text}")]
                gain, low, high = find_interval(gains) if gains else (None, None, None)
                lines.append(
                    (
                        _name_model(plain), f"{plain['tokens']:,}", name,
                        f"{other['loss_kind']} at {other['learning_rate']:g}",
                        f"{plain['learning_rate']:g}", write_gain(gain), write_interval(low, high),
                        str(len(gains)),
                    )
                )  # fmt: skip
    return Table(
        name="losses",
        title="Gain over the plain loss, in nats per token",
        header=("model", "tokens", "text", "loss", "rate of plain", "gain", "95 % interval", "seeds"),
        rows=tuple(lines),
    )


def compare_quantised(rows: Sequence[Row]) -> Table:
    """Compare recoveries through a quantiser with those rounded afterwards, and with float weights."""
    lines = []
    for through in (row for row in rows if row["bits"] is not None and row["method"] == LORA):
        for other, wanted in WANTED_OF_TYPES.get(through["bits"], {}).items():
            rival = _find_rival(rows, through, other)
            for text, name in TEXTS.items() if rival is not None else ():
                assert rival is not None
                gains = [right - left for left, right in pair_seeds(through, rival, f"losses_{text}")]
                gain, low, high = find_interval(gains) if gains else (None, None, None)
                met = ABSENT if gain is None else ("yes" if gain >= wanted else "no")
                lines.append(
                    (
                        _name_model(through), through["bits"], f"{through['tokens']:,}", other, name,
                        write_gain(gain), write_interval(low, high), write_gain(wanted), str(len(gains)), met,
                    )
                )  # fmt: skip
    return Table(
        name="quantised",
        title="Gain of training through the quantiser, in nats per token",
        header=(
            "model", "type", "tokens", "against", "text", "gain", "95 % interval", "target", "seeds", "met",
        ),
        rows=tuple(lines),
    )  # fmt: skip


def _find_rival(rows: Sequence[Row], through: Row, other: str) -> Row | None:
    """Return LoRA with the plain loss of the same model, rounded afterwards or in float weights."""
    found = [
        row
        for row in rows
        if row["loss_kind"] == PLAIN
        and all(row[key] == through[key] for key in ("setting", "widths", "ratio", "tokens"))
        and (row["method"], row["bits"])
        == ((LORA, None) if other == FLOAT else (LORA + AFTERWARDS, through["bits"]))
    ]
    return min(found, key=lambda row: float(row["loss_judging"]), default=None)


def find_best(rows: Sequence[Row], like: Row) -> Row | None:
    """Return our recovery of the same model, tokens and types with the lowest loss on the judging text."""
    ours = [row for row in rows if _is_same_model(row, like) and row["method"] != LLM_PRUNER_NAME]
    return min(ours, key=lambda row: float(row["loss_judging"]), default=None)


def is_plain_lora(row: Row) -> bool:
    """Tell whether a row is LoRA on float weights with the plain loss."""
    return row["method"] == LORA and row["loss_kind"] == PLAIN and row["bits"] is None


def _is_same_model(one: Row, other: Row) -> bool:
    return all(one[key] == other[key] for key in ("setting", "widths", "ratio", "tokens", "bits"))


def _name_model(row: Row) -> str:
    return f"{row['widths']}, {write_percent(row['ratio'])}"


def _find_ratio(gains: Sequence[tuple[float, float]]) -> tuple[float, float | None, float | None]:
    if not gains or min(min(pair) for pair in gains) <= 0:
        return math.nan, None, None
    mean, low, high = find_interval([math.log(ours / theirs) for ours, theirs in gains])
    return math.exp(mean), *((None, None) if low is None or high is None else (math.exp(low), math.exp(high)))
