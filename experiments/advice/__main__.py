"""Write the table of measured files that comes with the package.

python -m experiments.advice     from experiments/results/frontier.json
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.program import run_program
from experiments.rows import read_rows
from rankadaptor.files import write_json
from rankadaptor.planning.measured import RULE, SEARCHED, STOCK

RESULT = Path("experiments/results/frontier.json")
TABLE = Path("rankadaptor/planning/measured.json")
WHOLE = "stock Q8_0"


def main() -> None:
    """Write the table."""
    rows = list_measured(read_rows(RESULT, command="python -m experiments.frontier FILE.yaml"))
    write_json(TABLE, rows)
    sys.stdout.write(f"wrote {TABLE}: {len(rows)} files\n")


def list_measured(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the table's rows from the frontier's, for settings whose dense model was measured in Q8_0.

    Rules that chose the file of the search stand in the frontier with its figures and are left out.
    """
    whole = {row["setting"]: row for row in rows if row["method"] == WHOLE}
    times = {row["run"]: row["seconds"] for row in rows if row["kind"] == "ours"}
    return [
        _make_row(row, whole[row["setting"]], seconds=times.get(row["run"]))
        for row in rows
        if row["setting"] in whole and _is_own(row, rows)
    ]


def _is_own(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> bool:
    texts = ("loss_judging", "loss_other")
    return row["kind"] in ("ours", "stock") or not any(
        each["kind"] == "ours" and all(each[text] == row[text] for text in texts) for each in rows
    )


def _make_row(row: dict[str, Any], whole: dict[str, Any], *, seconds: float | None) -> dict[str, Any]:
    texts = [name for name in ("judging", "other") if row[f"loss_{name}"] is not None]
    names = {"ours": "compress", "ours, not recovered": "compress without recovery"}
    searched = row["kind"] in ("ours", "sequential") or row["method"].startswith("optimum")
    kind = SEARCHED if searched else STOCK if row["kind"] == "stock" else RULE
    return {
        "setting": row["setting"],
        "parameters": whole["parameters"],
        "method": names.get(row["method"], row["method"]),
        "kind": kind,
        "recovered": row["recovered"],
        "bytes": row["bytes"],
        "whole_bytes": whole["bytes"],
        "excess": [round(row[f"loss_{name}"] - row[f"loss_dense_{name}"], 4) for name in texts],
        "tokens_trained": row["tokens_trained"] or 0,
        "seconds": seconds if searched else None,
    }


if __name__ == "__main__":
    run_program(main)
