"""The result file of the bench: every part adds its keys and leaves the others alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankadaptor.files import read_json, write_json
from rankadaptor.runtime import describe_environment, find_commit

RESULTS = Path("experiments/results/engine.json")


def summarise(key: str, values: Sequence[float]) -> dict[str, Any]:
    """Return the median of repeated measurements under `key`, and lowest and highest as its spread."""
    return {
        key: round(statistics.median(values), 4),
        f"{key}_spread": [round(min(values), 4), round(max(values), 4)],
    }


def merge_results(part: str, found: dict[str, Any], *, path: Path = RESULTS, whole: bool = True) -> None:
    """Add the keys of one part, and the environment and commit under which it was measured.

    Args:
        part: Name of the part.
        found: Its keys.
        path: The result file.
        whole: Whether the part was measured in full. Otherwise its environment is noted beside that of the
            other rows, in `environments`.
    """
    known = read_json(path) if path.is_file() else {}
    commits = {**known.get("commits", {}), part: find_commit()}
    machine = describe_environment()
    beside = {part: machine} if not whole else {}
    write_json(
        path,
        {
            **known,
            **found,
            "environment": machine if whole else known.get("environment", machine),
            "environments": {**known.get("environments", {}), **beside},
            "commits": commits,
        },
    )
