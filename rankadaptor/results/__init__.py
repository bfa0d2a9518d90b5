"""Result documents: one JSON file per run, and the tables and sentences generated from it."""

from __future__ import annotations

from rankadaptor.results.document import (
    Document,
    find_job,
    find_result_file,
    get_part,
    read_result,
)
from rankadaptor.results.outcome import Outcome, explain_outcome
from rankadaptor.results.table import Table

__all__ = [
    "Document", "Outcome", "Table", "explain_outcome", "find_job", "find_result_file", "get_part",
    "read_result",
]  # fmt: skip
