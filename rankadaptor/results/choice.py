"""The table of what was tried before a recovery, in results of both kinds of runs."""

from __future__ import annotations

from typing import Any

from rankadaptor.results.document import Document, get_part
from rankadaptor.results.table import Table, write_loss, write_percent, write_value


def build_choice_table(document: Document) -> Table:
    """List every training that chose the recipe of a recovery, the shortest first.

    Raises:
        InputError: If there was nothing to choose.
    """
    choice: dict[str, Any] = get_part(
        document,
        "choice",
        sentence="No recipe was chosen for the recovery: it has that of the run file or search.",
    )
    names = list(dict.fromkeys(name for rung in choice["rungs"] for each in rung for name in each["changes"]))
    rows = [
        (
            str(number),
            str(each["steps"]),
            *(write_value(each["changes"].get(name)) for name in names),
            write_value(float(f"{each['rate']:.3g}")),
            write_loss(each["loss"]) if each["loss"] is not None else "diverged",
            "chosen" if each["changes"] == choice["changes"] and rung is choice["rungs"][-1] else "",
        )
        for number, rung in enumerate(choice["rungs"], start=1)
        for each in rung
    ]
    left_out = "; ".join(
        ", ".join(f"{name.replace('_', ' ')} {write_value(value)}" for name, value in each.items())
        for each in choice.get("left_out", ())
    )
    note = (
        f"Losses are comparable within a rung. Each training has a schedule of its own length, and a rate "
        f"that is raised for it. All together cost {write_percent(choice['share'])} of the recovery."
    )
    return Table(
        name="choice",
        title="Recipes tried for the recovery, on the reference",
        header=("rung", "steps", *(name.replace("_", " ") for name in names), "rate here", "loss", ""),
        rows=tuple(rows),
        note=note + (f" Not tried, for lack of steps: {left_out}." if left_out else ""),
    )
