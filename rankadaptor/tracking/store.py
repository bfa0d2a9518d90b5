"""Opening a store, and messages for its faults."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankadaptor.credentials import mask_credentials
from rankadaptor.errors import InputError, StorageError
from rankadaptor.requirements import MLFLOW, check_package, load_package
from rankadaptor.tracking.address import (
    DATABASES,
    DEFAULT_EXPERIMENT,
    EXPERIMENT_ID_VARIABLE,
    EXPERIMENT_VARIABLE,
    KEY,
    PASSWORD_VARIABLE,
    SERVERS,
    URI_VARIABLE,
    USER_VARIABLE,
    Store,
    locate_store,
)

logger = logging.getLogger(__name__)

ARTIFACTS = "artifacts"
PATIENCE = 10.0
"""Seconds to wait for a server or a database before a run starts."""

DRIVERS = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "pg8000": "pg8000",
    "MySQLdb": "mysqlclient",
    "pymysql": "pymysql",
    "pyodbc": "pyodbc",
    "pymssql": "pymssql",
}
"""Modules that databases are reached by, and the packages that hold them."""

_CHATTY = ("mlflow", "alembic", "urllib3")
_REMEDY = "Set track.uri to a store that answers, or track.enabled to false: the results do not depend on it."
_LATER = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
"""MLflow's codes for faults of the store, such as a full disk or a lock, rather than of what it is given."""


def connect(target: Store | str | Path | None) -> Any:
    """Return an `MlflowClient` for the store of `target`; a missing database is created.

    The address belongs to the client and nothing global is set, so MLflow in the calling program is not
    affected.

    Raises:
        InputError: See `locate_store`; or MLflow does not load.
        StorageError: If the folder cannot be written, a database's driver is missing, or nothing answers.
    """
    store = locate_store(target)
    load_mlflow()
    if store.folder is not None:
        with name_tracking_fault(store):
            store.folder.mkdir(parents=True, exist_ok=True)
    knock(store)
    with open_session(store):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)
        client.search_experiments(max_results=1)  # creates the tables now, not in the middle of a run
    return client


def find_experiment(client: Any, given: str | None, *, store: Store) -> str:
    """Return an experiment's id; a new one is made with its artifacts inside the store's own folder.

    Without a name it is that of `MLFLOW_EXPERIMENT_NAME`, else of `MLFLOW_EXPERIMENT_ID` where the store
    too comes from MLflow's variables, else `rankadaptor`. MLflow keeps the artifact folder as an absolute
    path. A store that was moved still shows its runs, but new files would go to the old place, so that is
    refused.

    Raises:
        StorageError: If the experiment's files lie elsewhere than beside its database.
    """
    location = None if store.folder is None else (store.folder / ARTIFACTS).as_uri()
    with open_session(store):
        from mlflow.exceptions import MlflowException

        name = given or os.environ.get(EXPERIMENT_VARIABLE, "").strip()
        number = os.environ.get(EXPERIMENT_ID_VARIABLE, "").strip()
        if not name and number and store.origin == URI_VARIABLE:
            name = client.get_experiment(number).name
        name = name or DEFAULT_EXPERIMENT
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
    place = experiment.artifact_location or ""
    if location is not None and place != location:
        if place.startswith("mlflow-artifacts:"):
            raise StorageError(
                f"{store.shown}: experiment {name!r} keeps its files with a tracking server. Set {KEY} to "
                "that server's address, or track.experiment to a new name."
            )
        if place.rstrip("/").endswith(f"/{ARTIFACTS}"):  # as this package makes it
            raise StorageError(
                f"{store.shown}: experiment {name!r} keeps its files in {place}, not beside its database; "
                "the folder was moved or copied. Move it back, or set track.experiment to a new name."
            )
    return str(experiment.experiment_id)


def knock(store: Store) -> None:
    """Fail within seconds if a store does not answer; MLflow itself would retry for minutes or an hour.

    Raises:
        InputError: If a database's address has options that its driver does not know, or MLflow is missing.
        StorageError: If nothing answers, or the driver is missing.
    """
    check_package(MLFLOW)
    if store.scheme in SERVERS:
        _ask_server(store)
    elif store.scheme in DATABASES or store.scheme == "sqlite":
        _open_database(store)


@contextlib.contextmanager
def open_session(store: Store) -> Iterator[None]:
    """Use MLflow on a store without its log lines, with credentials and with plain errors."""
    with name_tracking_fault(store), hush(), store.log_in():
        yield


@contextlib.contextmanager
def name_tracking_fault(store: Store) -> Iterator[None]:
    """Turn errors of MLflow, its database or its server into a `StorageError` that names the store."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if not is_tracking_fault(error):
            raise
        text = shorten(error)
        # The original error is not chained, since its text may contain a password.
        hidden = None if mask_credentials(str(error)) != str(error) else error
        raise StorageError(
            f"{store.shown}: the tracking store does not work ({text}). {_advise(store, str(error))}"
        ) from hidden


def is_tracking_fault(error: Exception) -> bool:
    """Tell whether an error comes from MLflow, its database, its server or the disk."""
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # CommandError: tables of another MLflow version. ImportError: missing client of an artifact store, such
    # as boto3 for s3://.
    return isinstance(error, MlflowException | SQLAlchemyError | CommandError | OSError | ImportError)


def may_pass(error: Exception) -> bool:
    """Tell whether the store may accept the same entry later: it is locked, full or read-only now."""
    return getattr(error, "error_code", None) in _LATER or isinstance(error, OSError)


def shorten(error: Exception) -> str:
    """Return the first line of an error's text, without passwords."""
    return mask_credentials((str(error).splitlines() or [type(error).__name__])[0])


def load_mlflow() -> None:
    """Import MLflow, set to report no usage, to write nothing to stdout, and to give up on a server in time.

    Raises:
        InputError: If it is absent or does not load.
    """
    # Read when MLflow is first imported; a user's own setting wins.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for results
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # For a missing server: a few seconds of retries instead of minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    load_package(MLFLOW)


@contextlib.contextmanager
def hush() -> Iterator[None]:
    """Suppress MLflow's notices and progress bars inside this block, and its usage reports permanently."""
    load_mlflow()  # it resets its loggers' levels when imported
    loggers = [logging.getLogger(name) for name in _CHATTY]
    loggers += [
        found
        for name, found in logging.Logger.manager.loggerDict.items()
        if name.startswith("mlflow.") and isinstance(found, logging.Logger) and found.level
    ]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)  # its errors are raised too, and told here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _ask_server(store: Store) -> None:
    """Ask for a server's health as MLflow would: with its settings for certificates and credentials."""
    with hush(), store.log_in():
        from mlflow.exceptions import MlflowException
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        try:
            answer = http_request(
                get_default_host_creds(store.uri),
                "/health",
                "GET",
                max_retries=1,  # a connection of before may be dead where a new one is not
                timeout=PATIENCE,
                raise_on_status=False,
            )
        except (MlflowException, OSError) as error:
            raise StorageError(
                f"{store.shown}: no tracking server answers ({_find_reason(error)}). {_REMEDY}"
            ) from error
    if answer.status_code >= 500:  # below, something answers; whether it lets us in shows at the first call
        raise StorageError(
            f"{store.shown}: the tracking server has a fault (status {answer.status_code}). {_REMEDY}"
        )


def _open_database(store: Store) -> None:
    """Open a database once; MLflow would try fifteen times, for up to half an hour."""
    import socket

    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    try:
        address = sqlalchemy.make_url(store.uri)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            engine = sqlalchemy.create_engine(address)  # imports the driver
    except ImportError as error:
        raise StorageError(f"{store.shown}: {_name_driver(store, error)}") from error
    except (SQLAlchemyError, ValueError) as error:
        raise InputError(
            f"{store.origin}={store.shown!r}: SQLAlchemy cannot read this address ({shorten(error)}). It "
            "must be scheme://user:password@host/database, with %40 for an @ in the password."
        ) from None
    try:
        if address.host and not address.host.startswith("/"):
            port = address.port or DATABASES.get(store.scheme, 0)
            socket.create_connection((address.host, port), timeout=PATIENCE).close()
        with engine.connect() as connection:
            if store.scheme == "sqlite":
                connection.execute(sqlalchemy.text("PRAGMA schema_version"))  # reads the file
    except (SQLAlchemyError, OSError) as error:
        raise StorageError(
            f"{store.shown}: the tracking store does not work ({shorten(error)}). "
            f"{_advise(store, str(error))}"
        ) from None
    except TypeError as error:
        raise InputError(
            f"{store.origin}={store.shown!r}: unknown option after the question mark ({shorten(error)}). "
            f"Write %3F for a ? in a file's name, or set {KEY} to the folder as it is called."
        ) from None
    finally:
        engine.dispose()


def _find_reason(error: BaseException) -> str:
    """Return the message of the operating system inside nested library errors."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return mask_credentials((str(error).splitlines() or [type(error).__name__])[0])


def _name_driver(store: Store, error: ImportError) -> str:
    module = (error.name or "").partition(".")[0]
    package = DRIVERS.get(module)
    remedy = f'Run pip install "{package}"' if package else "Install it"
    driver = (
        "" if "+" in store.uri.partition(":")[0] else f", or name another driver as in {_OTHER[store.scheme]}"
    )
    return f"the database's driver {module or error} is not installed. {remedy}{driver}."


_OTHER = {
    "postgresql": "postgresql+psycopg2://…",
    "mysql": "mysql+pymysql://…",
    "mssql": "mssql+pymssql://…",
    "sqlite": "sqlite:///…",
}


def _advise(store: Store, text: str) -> str:
    """Return the remedy for a fault."""
    if "locate revision" in text:
        return f"Its tables are those of a newer MLflow: pip install --upgrade mlflow. Or: {_REMEDY}"
    if store.scheme in SERVERS and any(code in text for code in ("401", "403")):
        return (
            f"Set {USER_VARIABLE} and {PASSWORD_VARIABLE} (or MLFLOW_TRACKING_TOKEN); a password is not "
            "stored with the run."
        )
    if store.scheme in DATABASES:
        return (
            f"Check host, user and password; a password is not stored with the run: leave {KEY} out and set "
            f"{URI_VARIABLE} to the whole address. {_REMEDY}"
        )
    return _REMEDY
