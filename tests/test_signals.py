"""A signal that asks to end acts like Ctrl-C: workers end, and the tracker's run is marked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from rankadaptor.cli import main
from rankadaptor.cli.signals import end_in_order
from tests.bench import make_bench


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_command_with_its_code_and_a_word(tmp_path, monkeypatch, capsys, name, code):
    import rankadaptor.planning

    def receive(*_args, **_options):
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(10)

    monkeypatch.setattr(rankadaptor.planning, "estimate_job", receive)
    path = tmp_path / "run.yaml"
    path.write_text("seed: 1\n")
    number = getattr(signal, name)
    outside = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        assert main(["plan", str(path)]) == code
        assert f"ended by {name}" in capsys.readouterr().err
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, outside)


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with end_in_order() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert received == []
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_run_that_is_terminated_marks_its_run_and_leaves_no_worker(
    tmp_path, monkeypatch, pico_model, pico_tokenizer
):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    bench = make_bench(tmp_path, monkeypatch, pico_model, pico_tokenizer)
    changes = {"search__evaluations": 400, "search__batch": 2, "search__steps": 50, "recover__steps": 400}
    arguments = bench.command(
        "run", **changes, track={"enabled": True, "uri": str(tmp_path / "track")}, compute={"workers": 2}
    )
    errors = (tmp_path / "errors.txt").open("w")
    driver = subprocess.Popen(
        [sys.executable, "-m", "rankadaptor", *arguments], stderr=errors, stdout=subprocess.DEVNULL
    )
    records = bench.output / "records.jsonl"
    deadline = time.monotonic() + 180
    while not (records.exists() and records.read_text().count("\n")):
        assert driver.poll() is None, (tmp_path / "errors.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=60) == 143
    text = (tmp_path / "errors.txt").read_text()
    assert "ended by SIGTERM; what is done is kept, and the same command continues" in text
    assert "Traceback" not in text
    children = subprocess.run(
        ["ps", "-e", "-o", "pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    assert str(bench.folder) not in children
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'track' / 'mlflow.db'}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.status for run in parents] == ["KILLED"]
