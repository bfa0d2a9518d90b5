"""Tables of the evidence: settings, regimes, noise and signal, what explains gains, published figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from experiments.evidence import Evidence, SettingEvidence
from experiments.evidence.description import TRAITS
from experiments.evidence.factors import ALLOCATIONS_PER_COLUMN, FACTORS
from experiments.evidence.published import BATCHES, REPEAT_SPREAD, REPEATED_MODEL, REPEATS
from experiments.evidence.regimes import SMALLEST_SHARE, WORDS
from rankadaptor.results.table import ABSENT, Table, write_count, write_gain, write_percent

TRAITS_COMPARED = tuple(trait for trait in TRAITS if trait != "ratio")


def write_spread(value: float | None) -> str:
    """Write an SD in nats per token with two significant digits or four decimals, whichever is finer."""
    if value is None:
        return ABSENT
    return f"{value:.4f}" if value >= 0.001 or value == 0 else f"{value:.5f}"


def write_interval(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    write: Callable[[float | None], str] = write_gain,
) -> str:
    """Write an estimate with its interval in brackets."""
    if value is None:
        return ABSENT
    return write(value) if low is None or high is None else f"{write(value)} ({write(low)} to {write(high)})"


def write_share(value: float | None) -> str:
    """Write a signed share in per cent with one decimal."""
    return ABSENT if value is None else f"{100 * value:+.1f} %".replace("-", "−")


def write_number(value: float | None, *, decimals: int = 2) -> str:
    """Write a plain figure, with a true minus sign."""
    return ABSENT if value is None else f"{value:.{decimals}f}".replace("-", "−")


def write_chance(value: float | None) -> str:
    """Write a p-value."""
    if value is None:
        return ABSENT
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def name_setting(entry: SettingEvidence) -> str:
    """Return the setting's name, marked with an asterisk if it is held out."""
    return f"{entry.name} *" if entry.held_out else entry.name


def order_settings(evidence: Evidence) -> list[SettingEvidence]:
    """Return the settings by regime, those with the largest share gained first, undecided ones last."""
    return sorted(
        evidence.settings,
        key=lambda entry: (WORDS.index(entry.regime.word), -(entry.regime.share or 0.0), entry.name),
    )


def build_setting_table(evidence: Evidence) -> Table:
    """Build the table of what was measured."""
    rows = []
    for entry in evidence.settings:
        gains, parts = entry.gains, entry.components
        rows.append(
            (
                name_setting(entry),
                *(entry.traits[trait] for trait in TRAITS),
                write_count(gains.tokens if gains is not None else None),
                write_count(parts.allocations if parts is not None else 0),
                f"{parts.repeated} × {parts.seeds}" if parts is not None and parts.repeated else ABSENT,
                write_count(entry.records),
                write_count(entry.failed),
            )
        )
    return Table(
        name="settings",
        title="What was measured",
        header=(
            "setting", *TRAITS, "tokens", "allocations", "repeated × further seeds", "records", "failed",
        ),
        rows=tuple(rows),
        note="*ratio*: share of the parameters removed. *budget*: the uniform rank whose adapter parameters "
        "all allocations share. *tokens* and *allocations*: of the length at which most allocations were "
        "measured, under one seed. An asterisk marks settings held out from training predictors.",
    )  # fmt: skip


def build_regime_table(evidence: Evidence) -> Table:
    """Build the table of regimes."""
    rows = []
    for entry in order_settings(evidence):
        regime, estimate = entry.regime, entry.winner.estimate if entry.winner is not None else None
        basis = ABSENT
        if estimate is not None:
            basis = f"{estimate.seeds} fresh seeds" if estimate.source == "fresh" else "shrunken"
        rows.append(
            (
                name_setting(entry),
                f"**{regime.word}**" if regime.word == WORDS[0] else regime.word,
                regime.reason,
                write_interval(estimate.gain, estimate.low, estimate.high) if estimate else ABSENT,
                write_gain(regime.recovered),
                write_interval(regime.share, regime.share_low, regime.share_high, write=write_share),
                basis,
                "yes" if entry.sure_among_all else ("no" if estimate is not None else ABSENT),
            )
        )
    return Table(
        name="regimes",
        title="Settings in which allocation matters",
        header=(
            "setting", "regime", "why", "best allocation's gain, nats per token (95 % interval)",
            "uniform recovers, nats per token", "gain as a share of that", "estimated from", "significant "
            "after correction",
        ),
        rows=tuple(rows),
        note=f"Rule: *{WORDS[0]}* if the interval lies above zero and the gain is at least "
        f"{write_percent(SMALLEST_SHARE)} of what uniform recovers. The gain is corrected for "
        "selection bias.",
    )  # fmt: skip


def build_trait_table(evidence: Evidence) -> Table:
    """Build the table of regimes by what the settings are."""
    rows = []
    for trait in TRAITS_COMPARED:
        groups: dict[str, list[SettingEvidence]] = defaultdict(list)
        for entry in evidence.settings:
            groups[entry.traits[trait]].append(entry)
        if len(groups) < 2:
            continue
        for value, entries in sorted(groups.items()):
            decided = [entry for entry in entries if entry.regime.word != WORDS[2]]
            rows.append(
                (
                    f"{trait}: {value}",
                    write_count(len(entries)),
                    write_count(sum(entry.regime.word == WORDS[0] for entry in decided))
                    + f" of {len(decided)}",
                    write_share(_median([entry.regime.share for entry in decided])),
                    write_number(
                        _median([entry.components.signal_to_noise for entry in entries if entry.components])
                    ),
                )
            )
    return Table(
        name="traits",
        title="Regimes by what the settings are",
        header=("trait", "settings", "allocation matters", "median share gained", "median signal to noise"),
        rows=tuple(rows),
        note="Settings differ in several traits at once, so a row describes and does not explain.",
    )


def build_effect_table(evidence: Evidence) -> Table:
    """Build the table of noise, spread of true effects, and their ratio."""
    rows = []
    for entry in evidence.settings:
        parts = entry.components
        if parts is None or parts.observed is None:
            rows.append((name_setting(entry), *(ABSENT,) * 8))
            continue
        left_out = entry.factors.left_out if entry.factors is not None else None
        predicted = None if left_out is None else parts.observed * max(left_out, 0.0) ** 0.5
        rows.append(
            (
                name_setting(entry),
                write_spread(parts.observed),
                write_spread(predicted),
                write_interval(parts.noise, parts.noise_low, parts.noise_high, write=write_spread),
                write_spread(parts.shared),
                write_spread(parts.rest),
                write_interval(parts.spread, parts.spread_low, parts.spread_high, write=write_spread),
                write_number(parts.signal_to_noise),
                write_chance(parts.p_value),
            )
        )
    return Table(
        name="effects",
        title="Noise and signal, SDs in nats per token",
        header=(
            "setting", "spread of gains under one seed", "predictable part", "noise of a paired gain (95 %)",
            "seed part", "residual part", "spread of true effects (95 %)", "signal to noise", "p, no true "
            "spread",
        ),
        rows=tuple(rows),
        note=f"{ABSENT}: not measured. *Predictable part*: SD of ridge predictions of left-out allocations "
        "under the same seed. It estimates the spread without repeats, but includes systematic effects of "
        "that seed. Without repeats over seeds the noise and the spread of true effects are unknown.",
    )  # fmt: skip


def build_winner_table(evidence: Evidence) -> Table:
    """Build the table of best allocations, with and without selection bias."""
    rows = []
    for entry in evidence.settings:
        winner, gains = entry.winner, entry.gains
        if winner is None or gains is None:
            rows.append((name_setting(entry), *(ABSENT,) * 6))
            continue
        column, fresh, shrunk = gains.screened_gains, winner.fresh, winner.shrunk
        rows.append(
            (
                name_setting(entry),
                write_gain(winner.screened),
                write_interval(shrunk.gain, shrunk.low, shrunk.high) if shrunk else ABSENT,
                write_interval(fresh.gain, fresh.low, fresh.high) if fresh else ABSENT,
                ("yes" if fresh.values == winner.screened_values else "no") if fresh else ABSENT,
                write_gain(float(np.median(column))),
                write_gain(float(column.min())),
            )
        )
    return Table(
        name="winners",
        title="The best allocation's gain, nats per token",
        header=(
            "setting", "measured once, with selection bias", "shrunken (95 %)", "best repeated one on fresh "
            "seeds (95 %)", "same allocation", "median allocation", "worst allocation",
        ),
        rows=tuple(rows),
    )  # fmt: skip


def build_seed_table(evidence: Evidence) -> Table:
    """Build the table of variance components."""
    rows = []
    for entry in evidence.settings:
        parts, pair = entry.components, entry.between_seeds
        if parts is None or parts.own is None:
            rows.append((name_setting(entry), *(ABSENT,) * 3, write_spread(entry.text_noise)))
            continue
        rows.append(
            (
                name_setting(entry),
                write_interval(parts.own, parts.own_low, parts.own_high, write=write_percent),
                write_percent(1 - parts.own),
                write_interval(pair.spearman, pair.low, pair.high, write=write_number) if pair else ABSENT,
                write_spread(entry.text_noise),
            )
        )
    return Table(
        name="seeds",
        title="Variance of paired gains by source",
        header=(
            "setting", "allocation (95 %)", "residual of one seed", "Spearman's ρ, one seed with the others "
            "(95 %)", "standard error from held-out text",
        ),
        rows=tuple(rows),
        note="Shares are of the variance between allocations under one seed. The last column is the standard "
        "error of one paired gain, in nats per token, from the choice of the held-out sequences; "
        "all allocations of a setting share the sequences, and no other figure here includes it.",
    )  # fmt: skip


def build_factor_table(evidence: Evidence) -> Table:
    """Build the table of what explains the variance in gains."""
    rows = []
    for entry in evidence.settings:
        factors = entry.factors
        if factors is None:
            rows.append((name_setting(entry), *(ABSENT,) * (len(FACTORS) + 5)))
            continue
        shares = factors.shares or {}
        rows.append(
            (
                name_setting(entry),
                write_count(factors.allocations),
                *(write_share(shares.get(name)) for name in FACTORS),
                write_share(factors.explained),
                write_percent(entry.components.own if entry.components else None),
                write_share(factors.left_out),
                write_number(factors.rank_correlation),
            )
        )
    return Table(
        name="factors",
        title="Share of the variance in gains that is explained",
        header=(
            "setting", "allocations", *FACTORS, "all together", "explainable",
            "left out: R²", "left out: Spearman's ρ",
        ),
        rows=tuple(rows),
        note="Adjusted R² of least squares, divided by Shapley values. It is zero on average if nothing is "
        f"explained, so small negative figures are noise. {ABSENT} in a factor's column: it does not vary in "
        f"this space or pruning, or there are fewer than {ALLOCATIONS_PER_COLUMN} allocations for each "
        "column of the fit. *Explainable*: share of the variance that is due to the allocations; the rest is "
        "the residual of one seed, whose systematic part is also counted as explained.",
    )  # fmt: skip


def build_published_table(evidence: Evidence) -> Table:
    """Build the table of published figures beside those of this corpus."""
    rows = [
        (
            f"published: {batch.model}",
            write_count(batch.runs),
            f"{batch.spread:.2f} points",
            f"{REPEAT_SPREAD:.2f} points ({REPEATS} runs)" if batch.model == REPEATED_MODEL else ABSENT,
            _rate_published(batch.spread) if batch.model == REPEATED_MODEL else ABSENT,
            write_number(batch.left_out),
            write_number(batch.rank_correlation)
            if batch.rank_correlation is not None
            else "about 0 or below",
        )
        for batch in BATCHES
    ]
    for entry in evidence.settings:
        parts, factors = entry.components, entry.factors
        if parts is None or parts.observed is None:
            continue
        rows.append(
            (
                f"here: {name_setting(entry)}",
                write_count(parts.allocations),
                f"{write_spread(parts.observed)} nats",
                ABSENT if parts.noise is None else f"{write_spread(parts.noise)} nats",
                write_number(parts.signal_to_noise),
                write_number(factors.left_out if factors else None),
                write_number(factors.rank_correlation if factors else None),
            )
        )
    return Table(
        name="published",
        title="Published figures and ours",
        header=(
            "batch or setting", "allocations", "spread over allocations", "noise", "signal to noise",
            "left out: R²", "left out: Spearman's ρ",
        ),
        rows=tuple(rows),
        note="Published: mean accuracy over seven benchmarks, in points, runs unpaired; the predictions are "
        "the better of ridge and a Gaussian process on the rank vector. Here: paired gains in held-out loss, "
        "nats per token. The two scales cannot be converted; signal to noise and left-out figures can be "
        "compared.",
    )  # fmt: skip


def _rate_published(spread: float) -> str:
    return write_number(float(np.sqrt(max(spread**2 - REPEAT_SPREAD**2, 0.0))) / REPEAT_SPREAD)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
