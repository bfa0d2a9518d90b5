"""Write the benchmark of predictors into a Markdown document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.predictors.aims import render_aims
from experiments.predictors.figures import DEFAULT, UNTAUGHT
from experiments.predictors.regret import render_regret
from experiments.rows import read_rows
from rankadaptor.predictor.contest import average_rows
from rankadaptor.report.markers import update_markers


def fill_contest(results: str | Path, *, file: str | Path) -> list[str]:
    """Fill a document's parts `NAME` and `NAME-…` from the rows of a benchmark; NAME is that of the results.

    The others are `aims`, `settings`, `silent`, `regret`, `figure` and `start`.

    Args:
        results: The list of rows that `python -m experiments.predictors` wrote; its figure lies in
            `figures/` there.
        file: The document.

    Returns:
        The names of the parts that changed.

    Raises:
        InputError: If the results or the markers are not sound.
    """
    source, target = Path(results), Path(file)
    rows = read_rows(source, command="python -m experiments.predictors")
    figures = source.parent / "figures"
    if not figures.is_absolute():
        figures = Path(*[".."] * len(target.parent.parts), figures)
    place = (figures / f"{source.stem}.png").as_posix()
    blocks = {}
    if (source.parent / "figures" / f"{source.stem}-start.png").is_file():
        start = (figures / f"{source.stem}-start.png").as_posix()
        blocks[f"{source.stem}-start"] = f"![With the corpus and without it]({start})\n\n{write_start(rows)}"
    return update_markers(
        target,
        {
            source.stem: render_averages(rows),
            f"{source.stem}-settings": render_settings(rows),
            f"{source.stem}-aims": render_aims(rows),
            f"{source.stem}-silent": render_silent(rows),
            f"{source.stem}-regret": render_regret(rows),
            f"{source.stem}-figure": f"![Share of the noise ceiling over online records]({place})",
            **blocks,
        },
    )


def write_start(rows: Sequence[Mapping[str, Any]]) -> str:
    """Describe the benefit of the corpus at the start of a search, and how many runs replace it."""
    signal = True if any(row["signal"] for row in rows) else None
    chosen = [row for row in rows if signal is None or row["signal"]]
    most = max(row["records"] for row in chosen)
    whole = {row["setting"] for row in chosen if row["records"] == most}
    chosen = [row for row in chosen if row["setting"] in whole]  # the same settings at every count
    reached = {name: _average_share(chosen, name) for name in (DEFAULT, UNTAUGHT)}
    first = reached[DEFAULT].get(0, 0.0)
    enough = [count for count, share in sorted(reached[UNTAUGHT].items()) if share >= first]
    needed = (
        f"needs {enough[0]} short runs for that" if enough else f"has not got there after {most} short runs"
    )
    beside = f"; one that sees the same slots and no corpus {needed}" if reached[UNTAUGHT] else ""
    settings = len({row["setting"] for row in chosen})
    return (
        f"In {settings} settings that it was not trained on, the predictor trained on the others reaches "
        f"{first:.2f} of the rank correlation that noise allows before anything is measured{beside}. "
        "Most of that order is the distance of an allocation from uniform: see the row `distance` "
        "in docs/predictors.md."
    )


def _average_share(rows: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
    """Return the mean share of the ceiling by number of online records."""
    shares: dict[int, list[float]] = {}
    for row in rows:
        if row["predictor"] == name and row["kendall_ratio"] is not None:
            shares.setdefault(row["records"], []).append(row["kendall_ratio"])
    return {count: sum(found) / len(found) for count, found in shares.items()}


def render_averages(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of predictors and counts: share of the ceiling, mean over settings with signal."""
    signal = True if any(row["signal"] for row in rows) else None
    parts = []
    for held_out, label in ((False, "Left out in turn"), (True, "Held out")):
        averages = [row for row in average_rows(rows, signal=signal) if row["held_out"] is held_out]
        if not averages:
            continue
        counts = sorted({row["records"] for row in averages})
        settings = max(row["settings"] for row in averages)
        lines = [
            f"**{label}**: {settings} settings{' with signal' if signal else ''}. "
            "Share of the ceiling · coverage of 90 % intervals.\n",
            "| predictor | " + " | ".join(f"{count} records" for count in counts) + " |",
            "|---|" + "---|" * len(counts),
        ]
        for name in dict.fromkeys(row["predictor"] for row in averages):
            cells = {row["records"]: row for row in averages if row["predictor"] == name}
            written = " | ".join(_write_cell(cells.get(count), settings) for count in counts)
            lines.append(f"| {f'**{name}**' if name == DEFAULT else name} | {written} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def render_settings(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of settings: the ceiling due to noise, and the τ of the default predictor."""
    own = [row for row in rows if row["predictor"] == DEFAULT]
    counts = sorted({row["records"] for row in own})
    lines = [
        "| setting | allocations | noise | spread | ceiling | "
        + " | ".join(f"τ after {count}" for count in counts)
        + " |",
        "|---|---|---|---|---|" + "---|" * len(counts),
    ]
    for name in dict.fromkeys(row["setting"] for row in own):
        cells = {row["records"]: row for row in own if row["setting"] == name}
        any_row = next(iter(cells.values()))
        label = f"{name} (held out)" if any_row["held_out"] else name
        figures = [_write_number(any_row[field], digits) for field, digits in FIGURES]
        taus = [f"{cells[count]['kendall']:.2f}" if count in cells else "" for count in counts]
        lines.append("| " + " | ".join([label, str(any_row["allocations"]), *figures, *taus]) + " |")
    return "\n".join(lines)


def render_silent(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the settings without signal: predicted spread over noise, which should be below 1."""
    own = [row for row in rows if row["predictor"] == DEFAULT and row["signal"] is False]
    if not own:
        return "Every decided setting has signal."
    counts = sorted({row["records"] for row in own})
    lines = [
        "| setting without signal | " + " | ".join(f"{count} records" for count in counts) + " |",
        "|---|" + "---|" * len(counts),
    ]
    for name in dict.fromkeys(row["setting"] for row in own):
        cells = {row["records"]: row for row in own if row["setting"] == name}
        shares = [
            f"{cells[count]['predicted_spread'] / cells[count]['noise']:.2f}" if count in cells else ""
            for count in counts
        ]
        lines.append(f"| {name} | " + " | ".join(shares) + " |")
    return "\n".join(lines)


FIGURES = (("noise", 4), ("measured_spread", 4), ("ceiling", 2))


def _write_number(value: float | None, digits: int) -> str:
    return "not known" if value is None else f"{value:.{digits}f}"


def _write_cell(row: Mapping[str, Any] | None, settings: int) -> str:
    if row is None:
        return ""
    fewer = f" (n={row['settings']})" if row["settings"] < settings else ""  # too few allocations are left
    share = f"τ {row['kendall']:.2f}" if row["kendall_ratio"] is None else f"{row['kendall_ratio']:.2f}"
    return f"{share} · {row['coverage90']:.2f}{fewer}"
