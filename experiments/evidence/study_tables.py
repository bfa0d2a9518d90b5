"""Tables of fidelity, learning rates, scaling exponents, recovery and benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.evidence import Evidence
from experiments.evidence.accuracy import CHANCE
from experiments.evidence.correlation import Correlation
from experiments.evidence.curves import FLAT
from experiments.evidence.recipes import FEWEST_RATES
from experiments.evidence.tables import (
    name_setting,
    write_interval,
    write_number,
    write_share,
)
from rankadaptor.results.table import (
    ABSENT,
    Table,
    write_count,
    write_gain,
    write_loss,
    write_percent,
    write_points,
)

Floats = NDArray[np.float64]


def write_correlation(correlation: Correlation | None) -> str:
    """Write Spearman's ρ with its interval."""
    if correlation is None:
        return ABSENT
    return write_interval(correlation.spearman, correlation.low, correlation.high, write=write_number)


def build_fidelity_table(evidence: Evidence) -> Table:
    """Build the table of shorter lengths against the longest."""
    rows = [
        (
            name_setting(entry),
            write_count(each.steps),
            write_count(each.longest),
            write_percent(each.share),
            write_count(each.correlation.pairs if each.correlation else None),
            write_correlation(each.correlation),
            write_number(each.correlation.kendall if each.correlation else None),
            write_loss(each.spread),
            write_loss(each.spread_longest),
            write_loss(each.regret),
        )
        for entry in evidence.settings
        for each in entry.fidelity
    ]
    return Table(
        name="fidelity",
        title="Gains of short fine-tunes against those of the longest",
        header=(
            "setting", "steps", "longest", "share", "allocations", "Spearman's ρ (95 %)", "Kendall's τ",
            "spread, short", "spread, longest", "regret",
        ),
        rows=tuple(rows),
        note="*Regret*: loss in gain at the longest length, in nats per token, from choosing the allocation "
        "that is best at the shorter one.",
    )  # fmt: skip


def build_rate_table(evidence: Evidence) -> Table:
    """Build the table of learning-rate curves on uniform."""
    rows = []
    for entry in evidence.settings:
        curve = entry.rates
        if curve is None:
            rows.append((name_setting(entry), *(ABSENT,) * 6))
            continue
        points = " · ".join(
            f"{rate:g}: {loss:.4f}" for rate, loss in zip(curve.rates, curve.losses, strict=True)
        )
        remarks = [
            *(["fewer than needed"] if len(curve.rates) < FEWEST_RATES else []),
            *(["best at the edge"] if curve.at_edge else []),
            *([f"{later[0]:g} is better by {later[1]:.4f}"] if (later := curve.found_later) else []),
        ]
        rows.append(
            (
                name_setting(entry),
                points,
                f"{curve.best:g}",
                ABSENT if curve.tuned is None else f"{curve.tuned:g}",
                write_gain(curve.cost_of_neighbour),
                write_gain(max(curve.losses) - min(curve.losses)),
                ", ".join(remarks) or "sound",
            )
        )
    return Table(
        name="rates",
        title="Learning rates on uniform, held-out loss in nats per token",
        header=(
            "setting", "rate: loss", "best", "used", "next best costs", "worst costs", "curve",
        ),
        rows=tuple(rows),
        note=f"A curve needs at least {FEWEST_RATES} rates, and its lowest loss inside them. Where "
        "allocations have rates of their own, uniform was also trained at rates between those of the grid; a "
        "better one is named. The setting keeps the rate it was measured at.",
    )  # fmt: skip


def build_own_rate_table(evidence: Evidence) -> Table:
    """Build the table of allocations at their own best learning rates."""
    rows = []
    for entry in evidence.settings:
        own = entry.own_rates
        if own is None:
            continue
        rows.append(
            (
                name_setting(entry),
                write_count(own.allocations),
                write_count(own.rates),
                write_count(own.seeds),
                write_correlation(own.correlation),
                write_percent(own.same_rate),
                write_gain(own.best_tuned),
                write_gain(own.best_own),
                write_number(own.between_seeds),
            )
        )
    return Table(
        name="own-rates",
        title="Order of allocations at each one's best learning rate",
        header=(
            "setting", "allocations", "rates", "seeds", "ρ of gains at one rate and at own rates (95 %)",
            "share with uniform's best rate", "gain of the best at the setting's rate", "its gain at own "
            "rate", "ρ between seeds",
        ),
        rows=tuple(rows),
        note="Gains in nats per token, with selection bias; at own rates, uniform takes its best rate "
        "too.",
    )  # fmt: skip


def build_exponent_table(evidence: Evidence) -> Table:
    """Build the table of scaling exponents."""
    rows = []
    for entry in evidence.settings:
        for each in entry.exponents:
            gains = np.array(each.gains)
            paired = gains - np.array(entry.exponents[-1].gains)  # the same allocations in the same order
            rows.append(
                (
                    name_setting(entry),
                    f"{each.exponent:g}",
                    ABSENT if each.learning_rate is None else f"{each.learning_rate:g}",
                    write_count(len(gains)),
                    write_count(each.seeds),
                    write_loss(each.loss_uniform),
                    _write_mean(gains),
                    ABSENT if each is entry.exponents[-1] else _write_mean(paired),
                    write_gain(float(gains.max())),
                    write_gain(float(gains.min())),
                    write_percent(float((gains > 0).mean())),
                    write_correlation(each.correlation),
                )
            )
    return Table(
        name="exponents",
        title="Scaling exponents, gains in nats per token",
        header=(
            "setting", "exponent γ", "rate", "allocations", "seeds", "uniform's loss", "mean gain",
            "over that of the largest γ", "best",
            "worst", "share above uniform", "ρ with the gains of the largest γ (95 %)",
        ),
        rows=tuple(rows),
        note="LoRA scale ∝ r^−γ; at uniform ranks all exponents are the same run. ±: standard error over "
        "allocations.",
    )  # fmt: skip


def _write_mean(gains: Floats) -> str:
    """Write a mean over allocations with its standard error."""
    if len(gains) < 2:
        return write_gain(float(gains.mean()))
    return f"{write_gain(float(gains.mean()))} ± {gains.std(ddof=1) / np.sqrt(len(gains)):.4f}"


def build_curve_table(evidence: Evidence) -> Table:
    """Build the table of uniform's recovery."""
    rows = []
    for entry in evidence.settings:
        curve = entry.curve
        if curve is None:
            rows.append((name_setting(entry), *(ABSENT,) * 8))
            continue
        usual = None if entry.gains is None else entry.gains.tokens
        flattened = {None: ABSENT, True: "yes", False: "no"}[curve.flattened]
        if curve.last_doubling is not None and curve.last_doubling < 0:
            flattened = "yes, rises again"
        rows.append(
            (
                name_setting(entry),
                write_count(len(curve.steps)),
                write_count(curve.tokens[-1]),
                write_loss(curve.pruned_loss),
                write_loss(curve.losses[-1]),
                write_share(curve.last_doubling),
                flattened,
                ABSENT if usual is None else write_count(usual),
                write_share(None if usual is None else curve.measure_reached(usual)),
            )
        )
    return Table(
        name="curves",
        title="Recovery of uniform",
        header=(
            "setting", "lengths", "tokens of the longest", "pruned", "recovered", "last doubling adds",
            "flattened", "tokens of the allocations", "uniform has recovered by then",
        ),
        rows=tuple(rows),
        note="Losses in nats per token, one fine-tune with its own schedule per length. *Flattened*: the "
        f"last doubling of tokens adds at most {write_percent(FLAT)} of the most that is recovered. The last "
        "column is a share of the best loss on the curve: near 100 %, allocations were compared at the end "
        "of recovery, otherwise before it.",
    )  # fmt: skip


def build_benchmark_table(evidence: Evidence) -> Table:
    """Build the table of accuracies against losses."""
    rows = []
    for entry in evidence.settings:
        found = entry.accuracy
        if found is None:
            continue
        contrasts = {(each.first, each.second): each for each in found.contrasts}
        cells = []
        for pair in (("best", "worst"), ("best", "uniform"), ("worst", "uniform")):
            each = contrasts.get(pair)
            cells.append(
                ABSENT
                if each is None
                else f"{write_points(each.difference, each.error, signed=True)} ({each.error_source}; loss "
                f"{write_gain(each.loss_difference)})"
            )
        rows.append(
            (
                name_setting(entry),
                write_count(len(found.benchmarks)),
                write_count(len(found.models)),
                write_points(float(np.mean([each.accuracy for each in found.models]))),
                write_points(found.chance),
                write_correlation(found.correlation),
                write_correlation(found.without_boolq),
                *cells,
            )
        )
    return Table(
        name="benchmarks",
        title="Held-out loss and mean accuracy in points",
        header=(
            "setting", "benchmarks", "models", "mean of all", "guessing",
            "ρ of lower loss and higher accuracy (95 %)", "without BoolQ",
            "best − worst", "best − uniform", "worst − uniform",
        ),
        rows=tuple(rows),
        note="±: one standard error, in brackets its source: paired items, the spread between models, or "
        "items treated as unpaired (too wide).",
    )  # fmt: skip


def build_accuracy_table(evidence: Evidence) -> Table:
    """Build the table of accuracies by benchmark and role."""
    scored = [(entry, entry.accuracy) for entry in evidence.settings if entry.accuracy is not None]
    names = list(dict.fromkeys(name for _, found in scored for name in found.benchmarks))
    rows = []
    for entry, found in scored:
        for role, accuracies in found.by_role.items():
            known = dict(zip(found.benchmarks, accuracies, strict=True))
            count = sum(model.role == role for model in found.models)
            rows.append(
                (name_setting(entry), role, write_count(count), *(write_points(known.get(n)) for n in names))
            )
    if rows:
        rows.append(("guessing", ABSENT, ABSENT, *(write_points(CHANCE.get(name)) for name in names)))
    return Table(
        name="accuracies",
        title="Mean accuracy by benchmark, in points",
        header=("setting", "allocations", "models", *names),
        rows=tuple(rows),
        note="One seed per model, the same questions for all models of a setting.",
    )
