"""The server that `mlflow ui` starts shows what was tracked, and takes a run itself."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from rankadaptor.errors import StorageError
from rankadaptor.tracking import MlflowTracker, open_tracker


def ask(address: str, path: str, **question):
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{path}",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def await_health(address, process, log, *, limit=300.0):
    """Wait until the server answers; a machine busy with other tests can take minutes to import it."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"the server ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        time.sleep(0.5)
    pytest.fail(f"no answer from the server within {limit:.0f} s:\n{log.read_text()[-2000:]}")


@contextlib.contextmanager
def serve(store):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{store}/mlflow.db",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes less
    log = store / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=store,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        await_health(address, process, log)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


class Gate:
    """Stands before a server and lets nobody through while it is shut."""

    def __init__(self, address):
        self.target = int(address.rpartition(":")[2])
        self.listener = self.open()
        self.port = self.listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def open(self, port=0):
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.admit, args=(self.listener,), daemon=True).start()
        return self.listener

    def shut(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def admit(self, listener):
        with contextlib.suppress(OSError):
            while True:
                inside, _ = listener.accept()
                outside = socket.create_connection(("127.0.0.1", self.target))
                for source, sink in ((inside, outside), (outside, inside)):
                    threading.Thread(target=self.pass_on, args=(listener, source, sink), daemon=True).start()

    def pass_on(self, listener, source, sink):
        with contextlib.suppress(OSError):
            while (content := source.recv(65536)) and listener.fileno() >= 0:
                sink.sendall(content)
        for each in (source, sink):
            each.close()


def check_server_that_goes_away(address, config, record, caplog):
    """Log a run that a run file sends to a server which is gone in the middle of it."""
    gate = Gate(address)
    with caplog.at_level(logging.INFO, logger="rankadaptor"):
        with open_tracker(config(uri=gate.address, experiment="away"), "digest") as tracker:
            tracker.log_record(record(1, 1), name="search-001")
            gate.shut()
            started = time.monotonic()
            tracker.log_record(record(2, 2), name="search-002")
            tracker.log_metrics({"gain": 0.5})
            assert time.monotonic() - started < 30
            assert "the run goes on" in caplog.text
            gate.open(gate.port)
        assert "works again" in caplog.text
    runs = ask(address, "runs/search", experiment_ids=[tracker.experiment_id])["runs"]
    assert sorted((run["info"]["run_name"], run["info"]["status"]) for run in runs) == [
        ("pico", "FINISHED"),
        ("search-001", "FINISHED"),
        ("search-002", "FINISHED"),
    ]

    with open_tracker(config(uri=gate.address, experiment="lost"), "digest") as tracker:
        gate.shut()
        tracker.log_metrics({"gain": 0.5})
    assert "did not take 2 entries" in caplog.text
    with pytest.raises(StorageError, match=r"no tracking server answers.*track\.enabled"):
        open_tracker(config(uri=gate.address), "digest").__enter__()


@pytest.mark.slow
def test_the_ui_shows_runs_trials_and_files_and_takes_a_run(config, record, store, caplog):
    with open_tracker(config(), "digest") as tracker:
        tracker.log_parameters({"seed": 0})
        tracker.log_record(record(12, 4), name="search-001")
        tracker.log_json({"values": [12, 4]}, "allocation.json")
    with serve(store) as address:
        with urllib.request.urlopen(address, timeout=20) as page:
            assert b"<html" in page.read().lower()
        runs = ask(address, "runs/search", experiment_ids=[tracker.experiment_id])["runs"]
        assert sorted(run["info"]["run_name"] for run in runs) == ["pico", "search-001"]
        with urllib.request.urlopen(
            f"{address}/get-artifact?path=allocation.json&run_uuid={tracker.run_id}", timeout=20
        ) as file:
            assert json.load(file) == {"values": [12, 4]}

        remote = MlflowTracker(address, experiment="remote", name="far", digest="digest")
        remote.log_record(record(4, 12), name="search-001")
        remote.close("FINISHED")
        again = MlflowTracker(address, experiment="remote", name="far", digest="digest")
        assert again.resumed
        again.log_record(record(4, 12), name="search-001")
        again.close("FINISHED")
        found = ask(address, "runs/search", experiment_ids=[again.experiment_id])["runs"]
        assert sorted((run["info"]["run_name"], run["info"]["status"]) for run in found) == [
            ("far", "FINISHED"),
            ("search-001", "FINISHED"),
        ]
        check_server_that_goes_away(address, config, record, caplog)
