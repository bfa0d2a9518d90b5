"""Addresses of stores, and what is said when one does not work."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from rankadaptor.errors import InputError, StorageError
from rankadaptor.tracking import MlflowTracker
from rankadaptor.tracking.store import resolve_uri


def test_a_folder_means_a_database_inside_it(tmp_path):
    assert resolve_uri(tmp_path / "mlruns") == (f"sqlite:///{tmp_path}/mlruns/mlflow.db", tmp_path / "mlruns")
    assert resolve_uri(f"sqlite:///{tmp_path}/own.db") == (f"sqlite:///{tmp_path}/own.db", tmp_path)


def test_a_server_is_passed_on():
    assert resolve_uri("http://127.0.0.1:5000") == ("http://127.0.0.1:5000", None)


def test_file_store_is_refused_with_the_way_out():
    with pytest.raises(InputError, match="'mlruns'"):
        resolve_uri("file:mlruns")


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
