"""What a run tells about itself: parameters, figures by step, trials and files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rankadaptor.config import RunConfig
    from rankadaptor.corpus import Record


class Tracker:
    """What a run tells about itself; this one keeps nothing, as for a run with tracking off."""

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


@contextlib.contextmanager
def open_tracker(config: RunConfig, digest: str, *, fresh: bool = False) -> Iterator[Tracker]:
    """Open the tracker that a run file asks for and end its parent run as the block ends.

    A parent run with the same digest is continued, so that an interrupted run stays one run in MLflow. Where
    the run's folder is new, what is measured is too: then `fresh` asks for a parent run of its own.

    Args:
        config: The run; `track.enabled`, `track.uri`, `track.experiment` and `name` are read.
        digest: Names the run, as in its folder.
        fresh: Start a new parent run even if there is one with this digest.

    Raises:
        StorageError: If the store does not work; nothing has been measured yet.
    """
    if not config.track.enabled:
        yield Tracker()
        return
    from rankadaptor.tracking.mlflow_tracker import MlflowTracker

    tracker = MlflowTracker(
        config.track.uri,
        experiment=config.track.experiment,
        name=config.name,
        digest=digest,
        fresh=fresh,
        settings=config.to_json(),
    )
    try:
        yield tracker
    except KeyboardInterrupt:
        tracker.close("KILLED")
        raise
    except BaseException:
        tracker.close("FAILED")
        raise
    tracker.close("FINISHED")
