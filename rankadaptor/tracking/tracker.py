"""The interface of a tracker: parameters, metrics by step, trials and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rankadaptor.corpus import Record


class Tracker:
    """A tracker that stores nothing, for runs without tracking."""

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log a nested mapping as parameters of the run."""

    def log_metrics(self, metrics: Mapping[str, float | None], *, step: int = 0) -> None:
        """Log figures of the run at a step; None is left out."""

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""

    def log_record(self, record: Record, *, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Log one trial under a name such as `search-003`, with parameters of its own."""

    def log_json(self, value: Any, name: str) -> None:
        """Log a JSON-like value as the file `name`."""

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        """Log a file, or a folder with all it holds."""

    def log_figure(self, figure: Figure, name: str) -> None:
        """Log a matplotlib figure as the file `name`."""
