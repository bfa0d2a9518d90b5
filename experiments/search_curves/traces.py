"""What one search measured, in its order: the record that the curves are computed from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankadaptor.errors import CorpusError
from rankadaptor.files import write_text

REFERENCE = "reference search"
"""Name of the search that spares no evaluation."""


@dataclass(frozen=True)
class Trace:
    """One search.

    Attributes:
        setting: Name of the setting.
        band: Name of its band.
        method: Name of the search.
        seed: Of all its draws.
        prepared: Tokens passed through the model before the first score, for features.
        kl: Divergence of each allocation, in the order measured; None where it exceeds the limit or failed.
        tokens: Tokens that each score computed.
        best: Choices of the best allocation.
    """

    setting: str
    band: str
    method: str
    seed: int
    prepared: int
    kl: tuple[float | None, ...]
    tokens: tuple[int, ...]
    best: tuple[int, ...]

    @property
    def key(self) -> tuple[str, str, int]:
        """What no other search of the setting has."""
        return self.band, self.method, self.seed

    def find_best(self, evaluations: int) -> float | None:
        """Return the least divergence of the first evaluations."""
        return min((kl for kl in self.kl[:evaluations] if kl is not None), default=None)

    def sum_tokens(self, evaluations: int) -> int:
        """Return the tokens of the first evaluations and of what came before them."""
        return self.prepared + sum(self.tokens[:evaluations])


def read_traces(folder: Path) -> list[Trace]:
    """Read all searches of a folder.

    Raises:
        CorpusError: If there is none, or a line is no search.
    """
    found = [trace for path in sorted(folder.glob("*.jsonl")) for trace in _read_file(path)]
    if not found:
        raise CorpusError(
            f"{folder}: no searches. Make some with `python -m experiments.search_curves NAME`."
        )
    return found


def write_traces(folder: Path, setting: str, traces: Sequence[Trace]) -> None:
    """Write the searches of a setting."""
    lines = [json.dumps(asdict(trace), separators=(",", ":")) for trace in traces]
    write_text(folder / f"{setting}.jsonl", "\n".join(lines) + "\n")


def read_setting(folder: Path, setting: str) -> list[Trace]:
    """Read the searches of a setting; there may be none."""
    path = folder / f"{setting}.jsonl"
    return list(_read_file(path)) if path.exists() else []


def _read_file(path: Path) -> Iterator[Trace]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            data: dict[str, Any] = json.loads(line)
            yield Trace(**{**data, **{name: tuple(data[name]) for name in ("kl", "tokens", "best")}})
        except (ValueError, TypeError, KeyError) as error:
            raise CorpusError(f"{path}, line {number}: no search ({error}). Delete the line.") from error
