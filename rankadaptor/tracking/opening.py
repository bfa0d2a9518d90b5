"""Opening the tracker of a run file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rankadaptor.tracking.mlflow_tracker import MlflowTracker
from rankadaptor.tracking.tracker import Tracker

if TYPE_CHECKING:
    from rankadaptor.config import CompressConfig, ElasticConfig, RunConfig


@contextlib.contextmanager
def open_tracker(
    config: RunConfig | CompressConfig | ElasticConfig, digest: str, *, fresh: bool = False
) -> Iterator[Tracker]:
    """Open the tracker of a run file, and end its parent run at the end of the block.

    A parent run with the same digest is continued, so that an interrupted run is one run in MLflow. With
    `fresh`, for a new folder, a new parent run is started.

    Args:
        config: The run; `track.enabled`, `track.uri`, `track.experiment` and `name` are read.
        digest: Digest of the run, as in its folder.
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
