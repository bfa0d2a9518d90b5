"""Paths of a run file: `~`, beside the run file, in the working folder; the digest keeps what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from rankadaptor.config import build_run, dump_run, load_run
from rankadaptor.config.faults import list_keys
from rankadaptor.config.run import RANK_SEARCH, RunConfig

TEXT = """
model: model
output: out
data: {train: rows.jsonl, held_out: other.jsonl}
search: {predictor_path: predictor}
evaluate: {benchmarks: [boolq, task.yaml]}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "working").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "working")
    return tmp_path / "home"


def test_inputs_beside_the_run_file_are_found_and_others_in_the_working_folder(home, tmp_path):
    place = tmp_path / "project"
    for name in ("model", "predictor", "out"):
        (place / name).mkdir(parents=True)
    for name in ("rows.jsonl", "task.yaml"):
        (place / name).write_text("")
    (place / "run.yaml").write_text(TEXT)
    run = load_run(place / "run.yaml")
    assert run.model == str(place / "model")
    assert run.data.train == str(place / "rows.jsonl")
    assert run.search.predictor_path == str(place / "predictor")
    assert run.evaluate.benchmarks == ("boolq", str(place / "task.yaml"))
    assert run.data.held_out == "other.jsonl"  # is not there
    assert run.output == "out"  # what is written goes to the working folder
    assert any("data.train: rows.jsonl is read from" in line for line in run.list_places())

    (Path("working.jsonl")).write_text("")
    (Path("task.yaml")).write_text("")
    (tmp_path / "run.yaml").write_text(TEXT.replace("rows", "working"))
    elsewhere = load_run(tmp_path / "run.yaml")
    assert elsewhere.data.train == "working.jsonl"

    # The run is named by what was written, and written down that way.
    (tmp_path / "task.yaml").write_text("")
    (tmp_path / "run.yaml").write_text(TEXT)
    assert load_run(tmp_path / "run.yaml").digest() == run.digest()
    assert run.to_json()["data"]["train"] == "rows.jsonl"
    assert run.get_written("evaluate.benchmarks") == ["boolq", "task.yaml"]
    (tmp_path / "again.yaml").write_text(dump_run(run))
    assert load_run(tmp_path / "again.yaml").digest() == run.digest()
    assert run.model_copy(update={"model": "another"}).to_json()["model"] == "another"


def test_a_home_folder_is_expanded_in_every_path(home):
    values = {
        "model": "~/model",
        "output": "~/out",
        "data": {"train": "~/rows.jsonl", "held_out": "~/held.jsonl"},
        "prune": {"calibration": {"source": "~/texts.txt"}},
        "search": {"predictor": "meta", "predictor_path": "~/predictor"},
        "evaluate": {"benchmarks": ["~/task.yaml"]},
        "collect": {"corpus": "~/corpus"},
        "meta_train": {"output": "~/trained"},
        "track": {"uri": "sqlite:///~/track/mlflow.db"},
    }
    (home / "task.yaml").write_text("")
    run = build_run(values)
    flat = run.model_dump_json()
    assert "~" not in flat
    assert flat.count(str(home)) == 10
    assert run.track.uri == f"sqlite:///{home}/track/mlflow.db"
    assert run.to_json()["data"]["train"] == "~/rows.jsonl"
    assert build_run({"track": {"uri": "~/mlruns"}}).track.uri == f"{home}/mlruns"
    assert build_run({"model": "~nobody-of-this-name/model"}).model == "~nobody-of-this-name/model"


def test_options_take_a_home_folder_too(home, capsys):
    from rankadaptor.cli import main

    assert main(["init", "first.yaml", "--output=~/out"]) == 0
    assert load_run("first.yaml").output == f"{home}/out"
    assert main(["init", "a b.yaml"]) == 0
    assert "plan 'a b.yaml'" in capsys.readouterr().out  # can be pasted


def test_every_key_that_holds_a_path_is_known():
    words = ("folder", ".yaml", "file", "hub:", "corpus", "uri")
    keys = list_keys(RunConfig)
    for key in (*RANK_SEARCH.paths.read, *RANK_SEARCH.paths.tasks, *RANK_SEARCH.paths.written):
        assert key in keys
    suspects = {
        key for key, field in keys.items() if str in _list_types(field.annotation)
        and any(word in (field.description or "").lower() for word in words)
    }  # fmt: skip
    assert suspects <= {*RANK_SEARCH.paths.read, *RANK_SEARCH.paths.tasks, *RANK_SEARCH.paths.written, "name"}


def _list_types(annotation):
    from typing import get_args

    return {annotation, *get_args(annotation)}
