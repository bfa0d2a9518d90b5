"""The findings as sentences, with figures from the corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.evidence import Evidence, SettingEvidence
from experiments.evidence.factors import FACTORS
from experiments.evidence.published import ALL_RUNS, BATCHES, CLAIMED_GAINS, PREDICTOR_ERRORS
from experiments.evidence.regimes import FALSE_RATE, FALSE_SPREAD, WORDS
from experiments.evidence.tables import write_number, write_share
from rankadaptor.results.table import write_gain, write_percent


def summarise_findings(evidence: Evidence) -> str:
    """Return the findings as a list, one line each; unmeasured findings have no line."""
    lines = [
        *_summarise_regimes(evidence.settings),
        *_summarise_effects(evidence.settings),
        *_summarise_studies(evidence.settings),
    ]
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _summarise_regimes(entries: Sequence[SettingEvidence]) -> list[str]:
    words = {word: [entry for entry in entries if entry.regime.word == word] for word in WORDS}
    matters, uniform, undecided = (words[word] for word in WORDS)
    decided = len(matters) + len(uniform)
    lines = [
        f"**Measured**: {len(entries)} settings, {sum(entry.held_out for entry in entries)} of them held "
        "out; "
        f"{decided} with the repeats that a decision needs."
    ]
    if matters:
        shares = sorted(entry.regime.share for entry in matters if entry.regime.share is not None)
        sure = sum(entry.sure_among_all for entry in matters)
        lines.append(
            f"**Allocation matters in {len(matters)} of {decided}**: the best allocation gains "
            f"{write_percent(shares[0])} to {write_percent(shares[-1])} of what uniform recovers; {sure} of "
            "these remain significant after correction for the number of settings."
        )
    elif decided:
        lines.append(
            f"**Allocation matters in none of {decided}**: in no setting is the gain of the best allocation "
            "both significant and large enough."
        )
    if uniform:
        small = sum("small" in entry.regime.reason for entry in uniform)
        lines.append(
            f"**Use uniform in {len(uniform)} of {decided}**; in {small} of these a gain is significant but "
            "too small."
        )
    if undecided:
        lines.append(f"**Undecided**: {len(undecided)}, where single measurements are within the noise.")
    return lines


def _summarise_effects(entries: Sequence[SettingEvidence]) -> list[str]:
    lines = []
    parts = [entry.components for entry in entries if entry.components is not None]
    tested = [each for each in parts if each.p_value is not None]
    if tested:
        real = sum((each.p_value or 0.0) < FALSE_SPREAD for each in tested)
        own = _median([each.own for each in tested])
        lines.append(
            f"**Allocations differ** from one another beyond the noise in {real} of {len(tested)} settings "
            f"with repeats (p below {FALSE_SPREAD:.2f} in each). Of the variance between allocations under "
            f"one seed, {write_percent(own)} is due to the allocations (median); the rest is due to the seed."
        )
    middles = [
        float(np.median(entry.gains.screened_gains))
        for entry in entries
        if entry.gains is not None and entry.gains.screened.any()
    ]
    if middles:
        below = sum(middle < 0 for middle in middles)
        lines.append(
            f"**The median allocation** is worse than uniform in {below} of {len(middles)} settings (median "
            f"over settings {write_gain(_median(middles))} nats per token)."
        )
    explained = [entry.factors for entry in entries if entry.factors is not None and entry.factors.shares]
    if explained:
        shares = {
            name: _median([factors.shares.get(name) for factors in explained if factors.shares])
            for name in FACTORS
        }
        named = ", ".join(
            f"{name} {write_share(share)}" for name, share in shares.items() if share is not None
        )
        left_out = write_share(_median([factors.left_out for factors in explained]))
        lines.append(
            f"**What explains the gains**, medians over {len(explained)} settings: {named} of the variance "
            f"under one seed; {left_out} is predicted on left-out allocations."
        )
    return lines


def _summarise_studies(entries: Sequence[SettingEvidence]) -> list[str]:
    lines = []
    shortest = [entry.fidelity[0].correlation for entry in entries if entry.fidelity]
    found = [each.spearman for each in shortest if each is not None]
    if found:
        lines.append(
            "**Short fine-tunes**: the shortest length measured orders allocations as the longest does with "
            f"Spearman's ρ {write_number(min(found))} to {write_number(max(found))} over {len(found)} "
            "settings."
        )
    curves = [entry.rates for entry in entries if entry.rates is not None]
    if curves:
        cost = _median([curve.cost_of_neighbour for curve in curves])
        lines.append(
            f"**Learning rates**: the next best rate of the grid costs uniform {write_gain(cost)} nats per "
            f"token (median over {len(curves)} settings)."
        )
    flat = [entry.curve.flattened for entry in entries if entry.curve and entry.curve.flattened is not None]
    if flat:
        ended = [entry for entry in entries if _was_recovered(entry)]
        lines.append(
            f"**Recovery** has flattened in {sum(flat)} of {len(flat)} settings whose curve is known; in "
            f"{len(ended)} of them most allocations were measured there, at the end of recovery."
        )
    scored = [
        entry.accuracy.correlation for entry in entries if entry.accuracy and entry.accuracy.correlation
    ]
    if scored:
        sure = sum(each.low > 0 for each in scored)
        lines.append(
            "**Held-out loss predicts accuracy** (rank correlation with an interval above zero) in "
            f"{sure} of {len(scored)} settings scored on benchmarks."
        )
    return lines


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def describe_chance(evidence: Evidence) -> str:
    """Describe the error rate of the rule when there is no effect."""
    decided = sum(entry.regime.word != WORDS[2] for entry in evidence.settings)
    return (
        "If no allocation differed from uniform, the rule would still find that allocation matters in a "
        f"decided setting with a probability of about {write_percent(FALSE_RATE)}: "
        f"{FALSE_RATE * decided:.2f} expected among the {decided} decided here. The column *significant "
        "after correction* is Holm's method at 5 % for the whole table.\n"
    )


def describe_claims() -> str:
    """Describe the published results and their re-analysis."""
    low, high = CLAIMED_GAINS
    worst = max(PREDICTOR_ERRORS, key=lambda name: PREDICTOR_ERRORS[name])
    below = sum(batch.left_out <= 0 for batch in BATCHES)
    return (
        f"The abstract of [[RankAdaptor]](references.md#RankAdaptor) claims {low:g} to {high:g} % over the "
        f"best earlier method. Of the {ALL_RUNS} runs that co-authors published "
        f"[[LaRA]](references.md#LaRA), {len(BATCHES)} batches of one model each are re-analysed below: in "
        f"{below} of them the rank vector does not predict left-out runs (R² of zero or less). The "
        f"published predictor's mean absolute error is {min(PREDICTOR_ERRORS.values()):.2f} to "
        f"{PREDICTOR_ERRORS[worst]:.2f} points per benchmark, more than the spread within one model.\n"
    )


def _was_recovered(entry: SettingEvidence) -> bool:
    """Tell whether the usual length of a setting is one at which uniform has flattened."""
    return (
        entry.curve is not None and entry.gains is not None and entry.curve.flattened_at(entry.gains.tokens)
    )
