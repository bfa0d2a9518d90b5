"""Opening the tracker that a run file asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rankadaptor.tracking.mlflow_tracker import MlflowTracker
from rankadaptor.tracking.tracker import Tracker

if TYPE_CHECKING:
    from rankadaptor.config import RunConfig


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
