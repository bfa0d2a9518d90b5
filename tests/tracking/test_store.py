"""Addresses of stores, and what is said when one does not work."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import logging
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy.engine import make_url

from rankadaptor.config import build_run
from rankadaptor.errors import InputError, StorageError
from rankadaptor.tracking import MlflowTracker, locate_store, open_tracker, tell_viewing


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_means_a_database_inside_it(here):
    for given, uri, folder in (
        (here / "mlruns", f"sqlite:///{here}/mlruns/mlflow.db", here / "mlruns"),
        (f"sqlite:///{here}/own.db", f"sqlite:///{here}/own.db", here),
        ("sqlite:///own.db?timeout=5", f"sqlite:///{here}/own.db?timeout=5", here),
        ("sqlite+pysqlite:///own.db", f"sqlite:///{here}/own.db", here),
        ("sqlite:///~/own.db", f"sqlite:///{Path.home()}/own.db", Path.home()),
        (None, f"sqlite:///{here}/mlruns/mlflow.db", here / "mlruns"),
    ):
        store = locate_store(given)
        assert (store.uri, store.folder) == (uri, folder)


@pytest.mark.parametrize("name", ["what?x=1", "a%25b", "sp ace", "ha#sh", "plus+and&semi;"])
def test_folders_of_any_name_work(store, here, name):
    folder = here / name
    shutil.copytree(store, folder)  # a store with its tables made
    tracker = MlflowTracker(folder, experiment=name, name="x", digest="x", settings={"a": 1})
    tracker.log_json([1], "deep/a b.json")
    tracker.close("FINISHED")
    assert [path.name for path in here.iterdir()] == [name]
    [found] = (folder / "artifacts").rglob("a b.json")
    assert json.loads(found.read_text()) == [1]
    # The command that is shown opens this very file.
    command = shlex.split(tell_viewing(name))
    assert Path(make_url(command[-1]).database).absolute() == folder / "mlflow.db"


def test_servers_are_passed_on_without_their_credentials(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "host program's")
    store = locate_store("http://us%40er:SEC%2FRET@127.0.0.1:5000/")
    assert (store.uri, store.user, store.password) == ("http://127.0.0.1:5000", "us@er", "SEC/RET")
    with store.log_in():
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == "us@er"
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "SEC/RET"
    assert "MLFLOW_TRACKING_USERNAME" not in os.environ
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "host program's"
    masked = locate_store("http://user:***@127.0.0.1:5000")  # as run.yaml stores it
    assert (masked.user, masked.password) == ("user", None)
    assert locate_store("postgresql://me:***@host/db").uri == "postgresql://me@host/db"
    assert "SECRET" not in repr(locate_store("postgresql://me:SECRET@host/db"))


class Guarded(http.server.BaseHTTPRequestHandler):
    """Answers as a tracking server does that asks for a password."""

    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        self.asked.append(self.headers.get("Authorization"))
        self.send_response(200 if self.path == "/health" else 401)
        self.end_headers()
        self.wfile.write(b"no")

    do_POST = do_GET  # noqa: N815  (the names that http.server calls)

    def log_message(self, *_):
        """Keep quiet."""


def test_credentials_in_an_address_reach_the_server_and_nothing_else():
    server = http.server.HTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://user:SECRET@127.0.0.1:{server.server_port}"
    with pytest.raises(StorageError, match=r"401.*MLFLOW_TRACKING_USERNAME") as caught:
        MlflowTracker(address, experiment="x", name="x", digest="x")
    server.shutdown()
    server.server_close()
    assert {base64.b64decode(given.split()[1]) for given in Guarded.asked} == {b"user:SECRET"}
    assert len(Guarded.asked) == 2
    told = "".join(traceback.format_exception(caught.value))
    assert "SECRET" not in told


def test_mlflow_s_variables_are_honoured_and_the_choice_is_told(here, store, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    config = build_run({"name": "pico"})
    with caplog.at_level(logging.INFO, logger="rankadaptor"), open_tracker(config, "env") as tracker:
        theirs = tracker.client.get_experiment(tracker.experiment_id)
    assert theirs.name == "theirs"
    assert "from MLFLOW_TRACKING_URI" in caplog.text
    assert str(store) in tell_viewing(None)
    assert not list(here.iterdir())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", theirs.experiment_id)
    assert MlflowTracker(None, experiment=None, name="x", digest="x").experiment_id == theirs.experiment_id

    # What the run file says goes first, and that is told too.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:SECRET@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    with caplog.at_level(logging.INFO, logger="rankadaptor"):
        tracker = MlflowTracker(store, experiment="ours", name="x", digest="x")
    assert tracker.client.get_experiment(tracker.experiment_id).name == "ours"
    assert "from track.uri, which overrides MLFLOW_TRACKING_URI" in caplog.text
    with pytest.raises(StorageError, match="no tracking server"), open_tracker(config, "env"):
        pass
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("postgresql+psycopg2://me:SECRET@127.0.0.1/db", r'psycopg2 is not installed.*"psycopg2-binary"'),
        ("mysql+pymysql://me:SECRET@127.0.0.1/db", r'pymysql is not installed.*"pymysql"'),
        ("mysql://me:SECRET@127.0.0.1/db", r'MySQLdb is not installed.*"mysqlclient".*mysql\+pymysql'),
        ("mssql+pyodbc://me:SECRET@127.0.0.1/db", r'pyodbc is not installed.*"pyodbc"'),
        ("postgres://me:SECRET@127.0.0.1/db", "postgresql://"),
        ("oracle://me:SECRET@127.0.0.1/db", "does not work"),
        ("http://me:SECRET@127.0.0.1:port", "not an address"),
        ("http://", "no host"),
        ("sqlite://", "in memory"),
        ("file:mlruns", "'mlruns'"),
    ],
)
def test_what_cannot_work_is_said_without_the_password(here, uri, said, monkeypatch):
    for module in ("psycopg2", "pymysql", "MySQLdb", "pyodbc"):
        monkeypatch.setitem(sys.modules, module, None)  # also where it happens to be installed
    with pytest.raises((StorageError, InputError), match=said) as caught:
        MlflowTracker(uri, experiment="x", name="x", digest="x")
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_no_database_is_told_at_once(here):
    """MLflow alone would try for most of an hour."""
    (here / "x.db").write_text("no database" * 100)
    with pytest.raises(StorageError, match="not a database"):
        MlflowTracker("sqlite:///x.db", experiment="x", name="x", digest="x")


def test_absent_server_is_told_within_seconds():
    with pytest.raises(StorageError, match=r"no tracking server answers.*track\.enabled"):
        MlflowTracker("http://127.0.0.1:9", experiment="x", name="x", digest="x")


def test_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "mlruns").write_text("a file")
    with pytest.raises(StorageError, match=r"does not work.*track\.uri"):
        MlflowTracker(tmp_path / "mlruns", experiment="x", name="x", digest="x")


def test_moved_store_is_refused(store, tmp_path):
    MlflowTracker(store, experiment="moved", name="x", digest="x").close("FINISHED")
    shutil.copytree(store, tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"moved or copied.*track\.experiment"):
        MlflowTracker(tmp_path / "elsewhere", experiment="moved", name="x", digest="x")


def test_deleted_experiment_comes_back(store):
    tracker = MlflowTracker(store, experiment="deleted", name="x", digest="x")
    tracker.client.delete_experiment(tracker.experiment_id)
    again = MlflowTracker(store, experiment="deleted", name="x", digest="x")
    assert again.experiment_id == tracker.experiment_id


def test_importing_the_package_loads_no_mlflow():
    code = "import sys, rankadaptor.tracking; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_is_printed(tmp_path):
    code = (
        "import sys\nfrom rankadaptor.tracking import MlflowTracker\n"
        "tracker = MlflowTracker(sys.argv[1], experiment='quiet', name='x', digest='x')\n"
        "tracker.log_json({'a': 1}, 'a.json')\ntracker.close('FINISHED')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "mlruns")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout + done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlruns"]


def test_a_database_of_a_newer_mlflow_is_told(here):
    with contextlib.closing(sqlite3.connect("newer.db")) as database:
        database.execute("create table alembic_version(version_num varchar(32))")
        database.execute("insert into alembic_version values('ffffffffffff')")
        database.commit()
    with pytest.raises(StorageError, match=r"newer\.db: .*fffff.*of a newer MLflow: pip install"):
        MlflowTracker("sqlite:///newer.db", experiment="x", name="x", digest="x")
