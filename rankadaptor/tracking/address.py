"""The store of a run: `track.uri`, else MLflow's own variables, else a local folder."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rankadaptor.credentials import MASK, mask_credentials
from rankadaptor.errors import InputError

DEFAULT_ROOT = Path("mlruns")
DATABASE = "mlflow.db"
DEFAULT_EXPERIMENT = "rankadaptor"

URI_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
EXPERIMENT_ID_VARIABLE = "MLFLOW_EXPERIMENT_ID"
USER_VARIABLE = "MLFLOW_TRACKING_USERNAME"
PASSWORD_VARIABLE = "MLFLOW_TRACKING_PASSWORD"
KEY = "track.uri"

SERVERS = ("http", "https")
DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Databases that MLflow writes to over the network, and their usual ports."""
_SQLITE = re.compile(r"sqlite(\+\w+)?:(?://)?", re.IGNORECASE)


@dataclass(frozen=True)
class Store:
    """A place that MLflow writes to.

    Attributes:
        uri: The address for MLflow, without a server's credentials but with a database's password; `shown`
            is the one for messages.
        folder: The folder that holds the database, if it is a local one.
        origin: Where the address comes from: `track.uri`, `MLFLOW_TRACKING_URI` or `the default`.
        user: User name for a server, None to leave that to MLflow's own settings.
        password: Password for a server, None to leave that to MLflow's own settings.
    """

    uri: str = field(repr=False)
    folder: Path | None
    origin: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """The address without passwords."""
        return mask_credentials(self.uri)

    @property
    def exists(self) -> bool:
        """Whether a local store's database exists; True for other stores, which are contacted."""
        if self.folder is None or "file:" in self.uri:
            return True
        from sqlalchemy.engine import make_url

        return Path(make_url(self.uri).database or "").is_file()

    @property
    def scheme(self) -> str:
        """`http`, `sqlite`, `postgresql`, …: without the driver."""
        return self.uri.partition(":")[0].partition("+")[0].lower()

    @contextlib.contextmanager
    def log_in(self) -> Iterator[None]:
        """Set the server's credentials in MLflow's environment variables inside this block."""
        given = {
            name: value
            for name, value in ((USER_VARIABLE, self.user), (PASSWORD_VARIABLE, self.password))
            if value is not None
        }
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def locate_store(target: Store | str | Path | None) -> Store:
    """Return the store of `target`; None takes `MLFLOW_TRACKING_URI`, else the folder `mlruns`.

    A folder becomes the sqlite database `mlflow.db` in it. A `sqlite:` URI keeps its own path, read as
    SQLAlchemy reads it, with artifacts beside the file. Credentials in a server's address are taken out of
    it. Anything else with a scheme is passed on as it is.

    Raises:
        InputError: If it asks for the file store, which MLflow no longer writes, or is no address.
    """
    if isinstance(target, Store):
        return target
    if target is not None:
        return _read_address(str(target), origin=KEY)
    if given := os.environ.get(URI_VARIABLE, "").strip():
        return _read_address(given, origin=URI_VARIABLE)
    return _read_address(str(DEFAULT_ROOT), origin="the default")


def explain_choice(store: Store) -> str:
    """Describe where a store's address comes from, and which setting it overrides."""
    other = os.environ.get(URI_VARIABLE, "").strip()
    if store.origin == KEY and other and other != store.uri:
        return f"from {KEY}, which overrides {URI_VARIABLE}"
    return f"from {store.origin}" if store.origin in (KEY, URI_VARIABLE) else store.origin


def tell_viewing(uri: str | None) -> str:
    """Return the command or the address that shows the runs of the store of `track.uri`."""
    try:
        store = locate_store(uri)
    except InputError as error:
        return str(error)
    if store.folder is not None:
        shown, here = store.shown, f"sqlite:///{Path.cwd()}/"
        shown = f"sqlite:///{shown.removeprefix(here)}" if shown.startswith(here) else shown
        return f"mlflow ui --backend-store-uri {shlex.quote(shown)}"
    if store.scheme in DATABASES:
        ending = f"  (with the password in place of {MASK})" if MASK in store.shown else ""
        return f"mlflow ui --backend-store-uri {shlex.quote(store.shown)}{ending}"
    return f"runs are shown at {store.shown}"


def _read_address(text: str, *, origin: str) -> Store:
    if found := _SQLITE.match(text):
        return _read_sqlite(text, text[found.end() :], origin=origin)
    if text.startswith("file:"):
        folder = urllib.parse.unquote(text.removeprefix("file:").removeprefix("//")) or str(DEFAULT_ROOT)
        raise InputError(
            f"{origin}={text!r}: MLflow no longer writes its file store. Give the folder itself, which then "
            f"holds a sqlite database: {KEY}={folder!r}."
        )
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme in SERVERS:
        return _read_server(text, origin=origin)
    if scheme.partition("+")[0] == "postgres":
        raise InputError(f"{origin}={text!r}: SQLAlchemy calls this database postgresql://…; write that.")
    if scheme.partition("+")[0] in DATABASES:
        # A password that was masked when the address was written down is none.
        return Store(uri=text.replace(f":{MASK}@", "@", 1), folder=None, origin=origin)
    if scheme or text == "databricks":
        return Store(uri=text, folder=None, origin=origin)
    place = Path(text).expanduser().absolute()
    return Store(uri=_write_sqlite(place / DATABASE), folder=place, origin=origin)


def _read_sqlite(text: str, rest: str, *, origin: str) -> Store:
    path, mark, query = rest.removeprefix("/").partition("?") if "://" in text else (rest, "", "")
    if "://" in text:
        from sqlalchemy.engine import make_url

        path = make_url(f"sqlite:///{path}").database or ""
    if path in ("", ":memory:"):
        raise InputError(
            f"{origin}={text!r}: a database in memory is lost when the run ends. Give a folder, or a file as "
            "in sqlite:///mlruns/mlflow.db."
        )
    if path.startswith("file:"):  # sqlite's own form of an address, which is left to sqlite
        return Store(uri=text, folder=Path.cwd(), origin=origin)
    database = Path(path).expanduser().absolute()
    return Store(uri=_write_sqlite(database) + mark + query, folder=database.parent, origin=origin)


def _write_sqlite(database: Path) -> str:
    """Write a file as the URI that SQLAlchemy opens it by, whatever characters are in its path."""
    plain = f"sqlite:///{database}"
    if not set("?%#&=+@") & set(str(database)):
        return plain
    from sqlalchemy.engine import URL, make_url

    # With the driver's name: for a sqlite:/// URI with quotes MLflow creates an unrelated folder.
    quoted = URL.create("sqlite+pysqlite", database=str(database)).render_as_string(hide_password=False)
    for uri in (plain, quoted):
        if make_url(uri).database == str(database) and not make_url(uri).query:
            return uri
    raise InputError(
        f"{database}: this version of SQLAlchemy cannot open a file with ? or % in its path. "
        'Run pip install "sqlalchemy>=2.1", or choose another folder for track.uri.'
    )


def _read_server(text: str, *, origin: str) -> Store:
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError:  # whose text may show a part of a password
        raise InputError(f"{origin}={text!r}: not an address. {_FORM}") from None
    if not host:
        raise InputError(f"{origin}={text!r}: names no host. {_FORM}")
    user, password = (None if each is None else urllib.parse.unquote(each) for each in _split_user(parts))
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl().rstrip("/")
    return Store(uri=place, folder=None, origin=origin, user=user, password=password)


def _split_user(parts: urllib.parse.SplitResult) -> tuple[str | None, str | None]:
    user = None if parts.username in ("", MASK) else parts.username
    return user, None if parts.password in ("", MASK) else parts.password


_FORM = (
    "It must be http://host:port, with %40 for an @, %2F for a / in a password; better, leave the password "
    f"out and set {USER_VARIABLE} and {PASSWORD_VARIABLE}."
)
