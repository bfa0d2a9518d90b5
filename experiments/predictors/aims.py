"""Aims of the default predictor and what it reaches, as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.predictors.figures import DEFAULT
from rankadaptor.predictor.contest import average_rows

SHARES = ((0, 0.6), (16, 0.85))
"""Online records, and the share of the noise ceiling aimed at after them."""
LEAD, LEADS = 0.05, (0, 4, 8)
"""Lead of the default over every other predictor (share of the ceiling) by number of records."""
COVERAGE = (0.85, 0.95)
KIN = ("ensemble",)
"""Contestants that contain the default, which it does not have to lead."""

Row = Mapping[str, Any]


def render_aims(rows: Sequence[Row]) -> str:
    """Return one line per aim, over settings with signal, those left out in turn and the held-out ones."""
    lines = []
    for held_out, label in ((False, "left out in turn"), (True, "held out")):
        averages = [row for row in average_rows(rows, signal=True) if row["held_out"] is held_out]
        own = {row["records"]: row for row in averages if row["predictor"] == DEFAULT}
        found = [*_check_shares(own), *_check_leads(own, averages), *_check_coverage(own)]
        lines += [f"| {label} | {' | '.join(cells)} |" for cells in found]
    if not lines:
        return "No setting has signal."
    return "\n".join(["| settings with signal | | reached | aim | met |\n|---|---|---|---|---|", *lines])


def _check_shares(own: Mapping[int, Row]) -> Iterator[tuple[str, ...]]:
    for count, least in SHARES:
        share = own[count]["kendall_ratio"] if count in own else None
        if share is not None:
            yield (
                f"share of the ceiling after {count} records",
                f"{share:.2f}",
                f"{least}",
                _say(share >= least),
            )


def _check_leads(own: Mapping[int, Row], averages: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    for count in LEADS:
        if count not in own or own[count]["kendall_ratio"] is None:
            continue
        others = {
            row["predictor"]: row["kendall_ratio"]
            for row in averages
            if row["records"] == count and row["predictor"] not in (DEFAULT, *KIN)
            # means over different settings are not comparable
            and row["settings"] == own[count]["settings"] and row["kendall_ratio"] is not None
        }  # fmt: skip
        if others:
            best = max(others, key=lambda name: others[name])
            lead = own[count]["kendall_ratio"] - others[best]
            what = f"lead over the best other (`{best}`) after {count} records"
            yield what, f"{lead:+.2f}".replace("-", "−"), f"{LEAD}", _say(lead >= LEAD)


def _check_coverage(own: Mapping[int, Row]) -> Iterator[tuple[str, ...]]:
    covered = [row["coverage90"] for row in own.values()]
    if covered:
        low, high = min(covered), max(covered)
        met = COVERAGE[0] <= low and high <= COVERAGE[1]
        yield (
            "coverage of 90 % intervals",
            f"{low:.2f} to {high:.2f}",
            f"{COVERAGE[0]} to {COVERAGE[1]}",
            _say(met),
        )


def _say(met: bool) -> str:
    return "yes" if met else "no"
