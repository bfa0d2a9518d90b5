"""MLflow runs: one parent per experiment run and one child per trial, continued after an interruption."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import StorageError
from rankadaptor.files import compute_digest
from rankadaptor.tracking.address import Store, explain_choice, locate_store
from rankadaptor.tracking.backlog import Backlog
from rankadaptor.tracking.source import SOURCE, describe_source, find_user
from rankadaptor.tracking.store import connect, find_experiment, open_session
from rankadaptor.tracking.tracker import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rankadaptor.corpus import Record

logger = logging.getLogger(__name__)

DIGEST_TAG = "rankadaptor.digest"
TRIAL_TAG = "rankadaptor.trial"
PARENT_TAG = "mlflow.parentRunId"

LONGEST_PARAMETER = 500
"""Longer values are written to `parameters.json` only, since MLflow cuts them."""
LONGEST_TAG = 5000


class MlflowTracker(Tracker):
    """Writes one run and its trials to an MLflow store.

    The run does not depend on the store: once opened, a store that fails gives a warning, and it receives the
    missing entries when it works again. A resumed run logs everything again; existing entries are not
    repeated.

    Args:
        target: The store, a folder or a tracking URI; None takes MLflow's own variables or `mlruns`.
        experiment: MLflow's experiment; None takes MLflow's own variables or `rankadaptor`.
        name: Name of the parent run.
        digest: Digest of the run; a parent run with the same digest is continued.
        fresh: Always start a new parent run.
        settings: The run's settings, kept whole as the file `parameters.json`.

    Attributes:
        store: Where the run is logged.
        client: The `MlflowClient` in use.
        experiment_id: MLflow's id of the experiment.
        run_id: MLflow's id of the parent run.
        resumed: Whether the parent run existed before.
    """

    def __init__(
        self,
        target: Store | str | Path | None,
        *,
        experiment: str | None,
        name: str,
        digest: str,
        fresh: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.store = locate_store(target)
        self.client = connect(self.store)
        self.experiment_id = find_experiment(self.client, experiment, store=self.store)
        self._backlog = Backlog(self.store)
        with open_session(self.store):
            found = None if fresh else self._find_parent(digest)
            self.resumed = found is not None
            if found is None:
                tags = {DIGEST_TAG: digest, **describe_source()}
                found = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
            else:
                self.client.update_run(found, status="RUNNING")
            self.run_id: str = found
            self._parameters = dict(self.client.get_run(found).data.params)
            self._points = self._read_points() if self.resumed else set()
            self._trials = self._read_trials() if self.resumed else {}
            if settings is not None:  # not by the backlog: where files cannot be kept, that is told now
                self.client.log_dict(found, dict(settings), "parameters.json")
        self._begun: dict[str, str] = {}
        self._known = set(self._trials)
        logger.info(
            "tracking: %s run %s in %s (%s)",
            "continuing" if self.resumed else "new",
            found,
            self.store.shown,
            explain_choice(self.store),
        )

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log a nested mapping as parameters with dotted names; existing ones are kept."""
        # MLflow cannot change a parameter: what a resumed run changed (a folder, a thread count) is in
        # `parameters.json`.
        new = {
            key: value
            for key, value in _flatten(parameters)
            if len(value) <= LONGEST_PARAMETER and key not in self._parameters
        }
        self._parameters.update(new)

        def write() -> None:
            from mlflow.entities import Param

            for part in _split(list(new.items()), 100):
                self.client.log_batch(self.run_id, params=[Param(key, value) for key, value in part])

        if new:
            self._backlog.put(write)

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the parent run; the last value of a name holds."""

        def write() -> None:
            from mlflow.entities import RunTag

            given = [RunTag(key, value[:LONGEST_TAG]) for key, value in tags.items()]
            self.client.log_batch(self.run_id, tags=given)

        self._backlog.put(write)

    def log_metrics(self, metrics: Mapping[str, float | None], *, step: int = 0) -> None:
        """Log figures of the parent run at a step; None and values that are not finite are left out."""
        points = [
            (key, step, float(value))
            for key, value in metrics.items()
            if value is not None and math.isfinite(value) and (key, step, float(value)) not in self._points
        ]
        if points:
            self._points.update(points)
            now = _read_clock()
            self._backlog.put(lambda: self._write_metrics(self.run_id, points, time=now))

    def log_record(self, record: Record, *, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Log one trial as a child run with the duration of the trial.

        Args:
            record: The measured trial.
            name: Name of the child run, such as `search-003`.
            parameters: Further parameters of the child, such as its learning rate.
        """
        further = dict(parameters or {})
        parts = [name, record.setting, list(record.values), record.seed, record.steps]
        key = compute_digest([*parts, further] if further else parts, length=16)
        if key in self._known:
            return
        self._known.add(key)
        now = _read_clock()
        self._backlog.put(lambda: self._write_trial(record, name, key, further, now))

    def log_json(self, value: Any, name: str) -> None:
        """Log a JSON-like value as the artifact `name`, which may hold folders."""
        self._backlog.put(lambda: self.client.log_dict(self.run_id, value, name))

    def log_file(self, path: Path, *, folder: str | None = None) -> None:
        """Log a file, or a folder with all it holds, under `folder` of the run's artifacts."""
        if not path.exists():
            raise StorageError(f"{path}: no such file to log.")
        if path.is_dir():
            place = f"{folder}/{path.name}" if folder else path.name
            self._backlog.put(lambda: self.client.log_artifacts(self.run_id, str(path), place))
        else:
            self._backlog.put(lambda: self.client.log_artifact(self.run_id, str(path), folder))

    def log_figure(self, figure: Figure, name: str) -> None:
        """Log a matplotlib figure as the artifact `name`, whose ending sets the format."""
        self._backlog.put(lambda: self.client.log_figure(self.run_id, figure, name))

    def close(self, status: str) -> None:
        """End the parent run with MLflow's `FINISHED`, `FAILED` or `KILLED`."""
        self._backlog.put(lambda: self.client.set_terminated(self.run_id, status=status))
        self._backlog.close()

    def _find_parent(self, digest: str) -> str | None:
        runs = self.client.search_runs(
            [self.experiment_id],
            filter_string=f"tags.`{DIGEST_TAG}` = '{digest}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return runs[0].info.run_id if runs else None

    def _read_points(self) -> set[tuple[str, int, float]]:
        points: set[tuple[str, int, float]] = set()
        for key in self.client.get_run(self.run_id).data.metrics:
            points.update(
                (key, point.step, point.value) for point in self.client.get_metric_history(self.run_id, key)
            )
        return points

    def _read_trials(self) -> dict[str, str]:
        """Return the complete children; incomplete ones of an interruption are deleted."""
        trials: dict[str, str] = {}
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                filter_string=f"tags.`{PARENT_TAG}` = '{self.run_id}'",
                max_results=1000,
                page_token=token,
            )
            for run in page:
                if run.info.status == "RUNNING":
                    self.client.delete_run(run.info.run_id)
                elif key := run.data.tags.get(TRIAL_TAG):
                    trials[key] = run.info.run_id
            token = page.token
            if not token:
                return trials

    def _write_trial(self, record: Record, name: str, key: str, further: Mapping[str, Any], now: int) -> None:
        from mlflow.entities import Param

        begun, ended = _find_times(record, now=now)
        tags = {PARENT_TAG: self.run_id, TRIAL_TAG: key, "rankadaptor.commit": record.commit}
        tags |= {"mlflow.user": find_user(), "mlflow.source.name": SOURCE}
        if record.error:
            tags["rankadaptor.error"] = record.error[:LONGEST_PARAMETER]
        if key in self._begun:  # an attempt that failed with the store
            self.client.delete_run(self._begun.pop(key))
        child = self.client.create_run(
            self.experiment_id, run_name=name, tags=tags, start_time=begun
        ).info.run_id
        self._begun[key] = child
        parameters = {
            "setting": record.setting,
            "seed": record.seed,
            "steps": record.steps,
            "fidelity": record.fidelity,
            "status": record.status,
            "values": json.dumps(list(record.values)),
            **further,
        }
        short = [Param(field, text) for field, text in _flatten(parameters) if len(text) <= LONGEST_PARAMETER]
        self.client.log_batch(child, params=short)
        figures = {
            "loss": record.loss,
            "loss_uniform": record.loss_reference,
            "gain": record.gain,
            "parameters": record.parameters,
            "tokens": record.tokens,
            "seconds": record.seconds,
            **{
                name: value
                for name, value in record.metrics.items()
                if name not in ("loss", "loss_reference")
            },
            **{
                name: value for name, value in record.costs.items() if name in ("bytes", "macs", "parameters")
            },
        }
        self._write_metrics(
            child,
            [
                (field, 0, float(figure))
                for field, figure in figures.items()
                if figure is not None and math.isfinite(figure)
            ],
            time=ended,
        )
        allocation = {
            "setting": record.setting,
            "values": list(record.values),
            "parameters": record.parameters,
        }
        self.client.log_dict(child, allocation, "allocation.json")
        status = "FINISHED" if record.status == "ok" else "FAILED"
        self.client.set_terminated(child, status=status, end_time=ended)
        self._trials[key] = self._begun.pop(key)

    def _write_metrics(self, run_id: str, points: list[tuple[str, int, float]], *, time: int) -> None:
        from mlflow.entities import Metric

        for part in _split(points, 1000):
            self.client.log_batch(
                run_id, metrics=[Metric(key, value, time, step) for key, step, value in part]
            )


def _read_clock() -> int:
    """Return the time in milliseconds, as MLflow counts it."""
    return int(time.time() * 1000)


def _find_times(record: Record, *, now: int) -> tuple[int, int]:
    """Return when a trial began and ended, in milliseconds; a record has its end and its duration."""
    try:
        ended = int(datetime.fromisoformat(record.created).timestamp() * 1000)
    except ValueError:  # a record without a time
        ended = now
    return ended - round(record.seconds * 1000), ended


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _split(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
