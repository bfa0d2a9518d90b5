"""One parent run per experiment run, one child per trial, continued after an interruption."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import StorageError
from rankadaptor.files import compute_digest
from rankadaptor.runtime import find_commit
from rankadaptor.tracking.backlog import Backlog
from rankadaptor.tracking.store import (
    connect,
    find_experiment,
    hush,
    name_tracking_fault,
    resolve_uri,
)
from rankadaptor.tracking.tracker import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rankadaptor.corpus import Record

logger = logging.getLogger(__name__)

DIGEST_TAG = "rankadaptor.digest"
TRIAL_TAG = "rankadaptor.trial"
PARENT_TAG = "mlflow.parentRunId"
CURVES = ("trial_gain", "best_trial_gain")

LONGEST_PARAMETER = 500
"""Longer values go to `parameters.json` alone: MLflow cuts long ones with a mere warning."""


class MlflowTracker(Tracker):
    """Writes one run and its trials to an MLflow store.

    The store is an account of the run, never a part of it: once opened, a store that stops working costs
    a warning, not the run, and a server that comes back is told what it missed. Everything may be logged
    twice, as a resumed run does: what is there already is not repeated.

    Attributes:
        client: The `MlflowClient` in use.
        experiment_id: MLflow's id of the experiment.
        run_id: MLflow's id of the parent run.
        resumed: Whether the parent run was there before.
    """

    def __init__(
        self, target: str | Path, *, experiment: str, name: str, digest: str, fresh: bool = False
    ) -> None:
        self.target = target
        self.uri = resolve_uri(target)[0]
        self.client = connect(target)
        self.experiment_id = find_experiment(self.client, experiment, target=target)
        self._backlog = Backlog(self.uri)
        with name_tracking_fault(self.uri), hush():
            found = None if fresh else self._find_parent(digest)
            self.resumed = found is not None
            if found is None:
                tags = {DIGEST_TAG: digest, "rankadaptor.commit": find_commit()}
                found = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
            else:
                self.client.update_run(found, status="RUNNING")
            self.run_id: str = found
            self._parameters = dict(self.client.get_run(found).data.params)
            self._points = self._read_points() if self.resumed else set()
            self._trials = self._read_trials() if self.resumed else {}
        self._begun: dict[str, str] = {}
        self._known = set(self._trials)
        steps = [step for key, step, _ in self._points if key in CURVES]
        best = [value for key, _, value in self._points if key == "best_trial_gain"]
        self._logged, self._best = max(steps, default=0), max(best, default=None)
        logger.info("tracking: %s run %s in %s", "continuing" if self.resumed else "new", found, self.uri)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log a nested mapping as parameters with dotted names, and whole as `parameters.json`."""
        flat = {key: value for key, value in _flatten(parameters) if len(value) <= LONGEST_PARAMETER}
        # A parameter cannot change in MLflow: what a resumed run changed (a folder, a thread count)
        # stays in the JSON.
        new = {key: value for key, value in flat.items() if key not in self._parameters}
        self._parameters.update(new)

        def write() -> None:
            from mlflow.entities import Param

            for part in _split(list(new.items()), 100):
                self.client.log_batch(self.run_id, params=[Param(key, value) for key, value in part])
            self.client.log_dict(self.run_id, dict(parameters), "parameters.json")

        self._backlog.put(write)

    def log_metrics(self, metrics: Mapping[str, float | None], *, step: int = 0) -> None:
        """Log figures of the parent run at a step; None and what is not finite is left out."""
        points = [
            (key, step, float(value))
            for key, value in metrics.items()
            if value is not None and math.isfinite(value) and (key, step, float(value)) not in self._points
        ]
        if points:
            self._points.update(points)
            self._backlog.put(lambda: self._write_metrics(self.run_id, points))

    def log_record(self, record: Record, *, name: str) -> None:
        """Log one trial as a child run, and the best gain so far as a curve of the parent.

        Args:
            record: The measured trial.
            name: Name of the child run, such as `search-003`.
        """
        key = compute_digest(
            [name, record.setting, list(record.values), record.seed, record.steps], length=16
        )
        if key in self._known:
            return
        self._known.add(key)
        self._backlog.put(lambda: self._write_trial(record, name, key))
        self._logged += 1
        gains = [gain for gain in (self._best, record.gain) if gain is not None]
        self._best = max(gains, default=None)
        self.log_metrics({"trial_gain": record.gain, "best_trial_gain": self._best}, step=self._logged)

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
        """Return the children that were written whole; what an interruption left half-written is deleted."""
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

    def _write_trial(self, record: Record, name: str, key: str) -> None:
        from mlflow.entities import Param

        tags = {PARENT_TAG: self.run_id, TRIAL_TAG: key, "rankadaptor.commit": record.commit}
        if record.error:
            tags["rankadaptor.error"] = record.error[:LONGEST_PARAMETER]
        if key in self._begun:  # an attempt that the store's failure cut off
            self.client.delete_run(self._begun.pop(key))
        child = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self._begun[key] = child
        parameters = {
            "setting": record.setting,
            "seed": record.seed,
            "steps": record.steps,
            "fidelity": record.fidelity,
            "status": record.status,
            "values": json.dumps(list(record.values)),
        }
        short = [Param(field, text) for field, text in _flatten(parameters) if len(text) <= LONGEST_PARAMETER]
        self.client.log_batch(child, params=short)
        figures = {
            "loss": record.loss,
            "loss_uniform": record.loss_uniform,
            "gain": record.gain,
            "parameters": record.parameters,
            "tokens": record.tokens,
            "seconds": record.seconds,
        }
        self._write_metrics(
            child,
            [
                (field, 0, float(figure))
                for field, figure in figures.items()
                if figure is not None and math.isfinite(figure)
            ],
        )
        allocation = {
            "setting": record.setting,
            "values": list(record.values),
            "parameters": record.parameters,
        }
        self.client.log_dict(child, allocation, "allocation.json")
        self.client.set_terminated(child, status="FINISHED" if record.status == "ok" else "FAILED")
        self._trials[key] = self._begun.pop(key)

    def _write_metrics(self, run_id: str, points: list[tuple[str, int, float]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for part in _split(points, 1000):
            self.client.log_batch(
                run_id, metrics=[Metric(key, value, now, step) for key, step, value in part]
            )


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _split(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
