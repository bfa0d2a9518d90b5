"""A job while it runs: it holds its folder and its tracker, and ends with a result document."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.config import CompressConfig, ElasticConfig, RunConfig
from rankadaptor.errors import InputError
from rankadaptor.files import write_json
from rankadaptor.pipeline.run_folder import RESULT, RunFolder, open_run
from rankadaptor.pipeline.step_files import read_object
from rankadaptor.runtime import describe_environment, find_commit
from rankadaptor.tracking import Tracker, open_tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

Plot = Callable[[dict[str, Any]], "Figure"]


@dataclass(frozen=True)
class RunningJob:
    """A job that was begun or continued.

    Attributes:
        folder: Its folder, which no other process writes to.
        config: The run, with the device and precision of the folder.
        tracker: Where it is logged.
        started: When it was started.
        clock: Reading of the monotonic clock then.
    """

    folder: RunFolder
    config: RunConfig | CompressConfig | ElasticConfig
    tracker: Tracker
    started: datetime.datetime
    clock: float

    def write_result(self, result: dict[str, Any]) -> dict[str, Any]:
        """Write `result.json`; return the whole document, whose schema is in docs/concepts.md."""
        config = self.folder.config or self.config
        document = {
            "schema": 1,
            "run": {
                "name": self.config.name,
                "digest": self.folder.digest,
                "commit": find_commit(),
                "seed": self.config.seed,
                "started": self.started.isoformat(timespec="seconds"),
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - self.clock, 1),
                "config": config.to_json(),
            },
            "result": result,
            "environment": describe_environment(),
        }
        document = _keep_origin(document, self.folder.path / RESULT)
        write_json(self.folder.path / RESULT, document)
        return document

    def publish(self, document: dict[str, Any], plots: Mapping[str, Plot] | None = None) -> None:
        """Write the report, and log it with the document and its figures.

        Args:
            document: The result document.
            plots: Name of a figure → what draws it; one whose data the run does not have is left out.
        """
        from rankadaptor.report import write_report  # not for worker processes

        self.tracker.log_file(write_report(self.folder.path))
        self.tracker.log_json(document, RESULT)
        for name, plot in (plots or {}).items():
            try:
                self.tracker.log_figure(plot(document), f"plots/{name}.png")
            except InputError as error:
                logger.debug("no %s plot: %s", name, error)


@contextlib.contextmanager
def open_job(
    config: RunConfig | CompressConfig | ElasticConfig, *, output: Path | None = None, fresh: bool = False
) -> Iterator[RunningJob]:
    """Begin a job, or continue it with other settings of its later steps, and hold its folder for the block.

    Args:
        config: The run.
        output: Folder to write to, `config.output` by default.
        fresh: Delete the files of an earlier run in the folder.

    Raises:
        InputError: If the folder holds another run or is in use.
        StorageError: If the folder cannot be written or the tracker's store does not work.
    """
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    with (
        open_run(output or Path(config.output), config, fresh=fresh, adapt=True) as folder,
        open_tracker(config, folder.digest, fresh=not folder.continued) as tracker,
    ):
        yield RunningJob(folder, config, tracker, started, clock)


def _keep_origin(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """Keep commit, times and environment of an existing result if nothing was measured now."""
    if not path.is_file():
        return document
    earlier = read_object(
        path,
        keys=("run", "result", "environment"),
        what="the result of this run",
        cost="it is written again from the finished steps",
    )
    same = earlier["run"].get("digest") == document["run"]["digest"]
    result, before = json.loads(json.dumps(document["result"])), earlier["result"]
    # Results of older versions lack the device and precision.
    same = same and before == {key: each for key, each in result.items() if key in before or key != "compute"}
    return {**document, **{key: earlier[key] for key in ("run", "environment")}} if same else document
