"""A table of texts for HTML, Markdown and the terminal, and the format of numbers."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "–"


@dataclass(frozen=True)
class Table:
    """A titled table.

    Attributes:
        name: Short name, used in markers and as an anchor.
        title: What it shows, units included.
        header: Column names.
        rows: Cells as text, each row as long as the header; the first cell names the row.
        note: Explanation of the columns; may be empty.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def to_markdown(self) -> str:
        """Return the table as GitHub-flavoured Markdown, its note below it."""
        lines = [_join(self.header), "|---|" + "---:|" * (len(self.header) - 1)]
        lines += [_join(row) for row in self.rows]
        if self.note:
            lines += ["", self.note]
        return "\n".join(lines) + "\n"


def _join(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def write_loss(loss: float | None) -> str:
    """Write a loss in nats per token; the noise of a short run is in the third or fourth decimal."""
    return ABSENT if loss is None else f"{loss:.4f}"


def write_gain(gain: float | None) -> str:
    """Write a signed difference of losses in nats per token."""
    return ABSENT if gain is None else f"{gain:+.4f}".replace("-", "−")


def write_interval(low: float | None, high: float | None) -> str:
    """Write an interval of gains in nats per token."""
    return ABSENT if low is None else f"{write_gain(low)} to {write_gain(high)}"


def write_count(count: float | None) -> str:
    """Write a count with thousands separated."""
    return ABSENT if count is None else f"{count:,.0f}"


def write_teacher(recoveries: Iterable[Mapping[str, Any]]) -> str:
    """Write what a teacher read in recoveries, and in which time; empty where there was none."""
    taught = [each["teacher"] for each in recoveries if each.get("teacher")]
    if not taught:
        return ""
    tokens, seconds = (sum(each[key] for each in taught) for key in ("tokens", "seconds"))
    return f" In the full recoveries a teacher read {tokens:,} tokens beside the model, in {seconds:,.1f} s."


def write_points(share: float | None, error: float | None = None, *, signed: bool = False) -> str:
    """Write a share as percentage points with its standard error, for example `58.3 ± 2.1`."""
    if share is None:
        return ABSENT
    text = (f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}").replace("-", "−")
    return text if error is None else f"{text} ± {100 * error:.1f}"


def write_percent(share: float | None) -> str:
    """Write a share in per cent with one decimal."""
    return ABSENT if share is None else f"{100 * share:.1f} %"


def write_moment(text: str) -> str:
    """Write an ISO 8601 moment in this machine's time zone, as `22 November 2026, 19:31 UTC+01:00`."""
    moment = datetime.datetime.fromisoformat(text).astimezone()
    offset = f"{moment:%z}"
    zone = "UTC" if offset == "+0000" else f"UTC{offset[:3]}:{offset[3:5]}"
    return f"{moment.day} {moment:%B %Y, %H:%M} {zone}"


def write_value(value: Any) -> str:
    """Write any value: numbers briefly, None as a dash."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(write_value(entry) for entry in value) or ABSENT
    return str(value)
