"""README's table: what the delivered file of every size gains over the references of its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.frontier.rows import OURS, Row
from rankadaptor.pipeline.compression.judging import SAME_SIZE
from rankadaptor.results.table import ABSENT, Table, write_gain, write_loss

TEXTS = ("loss_judging", "loss_other")


def build_margins(rows: Sequence[Row]) -> Table:
    """Compare every delivered file with the best reference that is not larger, and with uniform pruning.

    The best reference is the one with the lowest mean loss of both texts, as in the verdict of a run. A
    margin is its loss minus ours, in nats per token. Rules that chose our configuration are left out.
    """
    lines, same = [], []
    for ours in (row for row in rows if row["method"] == OURS):
        others = list(_list_references(rows, ours))
        twins = [row["method"] for row in _list_beside(rows, ours) if _is_same(row, ours)]
        same += [f"{name} chooses the file of {_name_file(ours)}" for name in twins]
        best = min(others, key=lambda row: sum(row[text] for text in TEXTS), default=None)
        uniform = next((row for row in others if str(row["method"]).startswith("uniform")), None)
        lines.append(
            (
                _name_file(ours),
                *(
                    f"{write_loss(ours[text])} ({write_loss(ours[text.replace('loss', 'loss_dense')])})"
                    for text in TEXTS
                ),
                ABSENT if best is None else str(best["method"]),
                _write_margins(ours, best),
                _write_margins(ours, uniform),
            )
        )
    return Table(
        name="margins",
        title="Margins of the delivered files",
        header=("file", "loss (dense)", "other domain", "best reference", "margin over it", "over uniform"),
        rows=tuple(lines),
        note="Margins on text like that of the search, and on text of another domain. "
        + (f"Also: {'; '.join(same)}. " if same else "")
        + "Every file and every reference: [docs/compress.md](docs/compress.md).",
    )


def _name_file(ours: Row) -> str:
    return f"{ours['setting']}, {ours['bytes'] / 1e6:.1f} MB"


def _is_same(row: Row, ours: Row) -> bool:
    return all(row[text] == ours[text] for text in TEXTS)


def _list_references(rows: Sequence[Row], ours: Row) -> Iterator[Row]:
    return (row for row in _list_beside(rows, ours) if not _is_same(row, ours))


def _list_beside(rows: Sequence[Row], ours: Row) -> Iterator[Row]:
    for row in rows:
        beside = row["setting"] == ours["setting"] and row["limit"] in (None, ours["limit"])
        if beside and row["kind"] != OURS and row["bytes"] <= SAME_SIZE * ours["bytes"]:
            yield row


def _write_margins(ours: Row, other: Row | None) -> str:
    if other is None:
        return ABSENT
    return ", ".join(write_gain(other[text] - ours[text]) for text in TEXTS)
