"""Where MLflow keeps what it is told: a sqlite file in a folder, or any tracking server."""

from __future__ import annotations

import contextlib
import logging
import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankadaptor.errors import InputError, StorageError

logger = logging.getLogger(__name__)

DEFAULT_ROOT = Path("mlruns")
DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"

_CHATTY = ("mlflow", "alembic")
_REMEDY = "Set track.uri to a store that answers, or track.enabled to false: the results do not depend on it."


def resolve_uri(target: str | Path) -> tuple[str, Path | None]:
    """Return the tracking URI that `target` means, and the folder it owns if it is a local one.

    A folder becomes `sqlite:///<folder>/mlflow.db`. A `sqlite:` URI keeps its own path, with artifacts
    beside the file. Anything else with a scheme is passed on as it is.

    Raises:
        InputError: If it asks for the file store, which MLflow no longer writes.
    """
    text = str(target)
    if text.startswith("sqlite:"):
        database = Path(text.removeprefix("sqlite:").removeprefix("///"))
        return f"sqlite:///{database.absolute()}", database.absolute().parent
    if text.startswith("file:"):
        raise InputError(
            f"track.uri={text!r}: MLflow no longer writes its file store. Give the folder itself, which then "
            f"holds a sqlite database, for example {text.removeprefix('file:').removeprefix('//')!r}."
        )
    if "://" in text or text == "databricks":
        return text, None
    folder = Path(text).expanduser().absolute()
    return f"sqlite:///{folder / DATABASE}", folder


def connect(target: str | Path) -> Any:
    """Return an `MlflowClient` on the store that `target` means, its database made if need be.

    The client carries its own address: nothing global is set, so a host program's own MLflow use is not
    disturbed.

    Raises:
        InputError: See `resolve_uri`.
        StorageError: If the folder cannot be written or the server does not answer.
    """
    uri, folder = resolve_uri(target)
    with name_tracking_fault(uri), hush():
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            knock(uri)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)  # creates the tables now, not in the middle of a run
    return client


def find_experiment(client: Any, name: str, *, target: str | Path) -> str:
    """Return the id of the experiment `name`, made with its artifacts inside the store's own folder.

    MLflow keeps the artifact folder as an absolute path. A store that was moved still shows its runs,
    but new files would go to the old place, so that is refused.

    Raises:
        StorageError: If the experiment's files lie elsewhere than beside its database.
    """
    uri, folder = resolve_uri(target)
    location = None if folder is None else (folder / ARTIFACTS).as_uri()
    with name_tracking_fault(uri), hush():
        from mlflow.exceptions import MlflowException

        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name, artifact_location=location))
            except MlflowException:
                # Another process made it in between.
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
    if location is not None and experiment.artifact_location != location:
        raise StorageError(
            f"{uri}: experiment {name!r} keeps its files in {experiment.artifact_location}, not beside its "
            "database; the folder was moved or copied. Move it back, or set track.experiment to a new name."
        )
    return str(experiment.experiment_id)


@contextlib.contextmanager
def name_tracking_fault(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database or its server raise into a `StorageError` that names the store."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if not is_tracking_fault(error):
            raise
        first = (str(error).splitlines() or [""])[0]
        raise StorageError(f"{uri}: the tracking store does not work ({first}). {_REMEDY}") from error


def is_tracking_fault(error: Exception) -> bool:
    """Tell whether an error comes from MLflow, its database, its server or the disk."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, MlflowException | SQLAlchemyError | OSError)


@contextlib.contextmanager
def hush() -> Iterator[None]:
    """Silence MLflow's notices and progress bars for a while, and its usage reports for good."""
    # Read when MLflow is first imported; a user's own setting wins.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # A server that is gone: a few seconds of trying, not the default's many minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    import mlflow  # noqa: F401  (it resets its loggers' levels when imported)

    loggers = [logging.getLogger(name) for name in _CHATTY]
    loggers += [
        found
        for name, found in logging.Logger.manager.loggerDict.items()
        if name.startswith("mlflow.") and isinstance(found, logging.Logger) and found.level
    ]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def knock(uri: str) -> None:
    """Fail within seconds where no server listens; MLflow itself would retry for minutes.

    Raises:
        StorageError: If none does. Stores that are no servers are not asked.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10):
            return
    except urllib.error.HTTPError as error:
        if error.code < 500:
            return  # something answers; whether it lets us in shows at the first call
        raise StorageError(f"{uri}: the tracking server is out of order ({error}). {_REMEDY}") from error
    except OSError as error:
        raise StorageError(f"{uri}: no tracking server answers ({error}). {_REMEDY}") from error
