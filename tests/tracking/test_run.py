"""A whole pico run as users of MLflow find it: what was used and measured, where they look for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rankadaptor.cli import main
from rankadaptor.config import build_run
from rankadaptor.pipeline import account, run_experiment
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.runtime import choose_compute
from rankadaptor.tracking import open_tracker
from rankadaptor.tracking.store import connect
from tests.bench import make_bench

TUNE = {"learning_rates": [1e-3, 1e-2], "steps": 2}
COMMANDS_OWN = ("collect", "meta_train", "track")


@pytest.fixture
def bench(tmp_path, monkeypatch, pico_model, pico_tokenizer):
    return make_bench(tmp_path, monkeypatch, pico_model, pico_tokenizer)


def read_family(store, experiment):
    """Return a client, the parent runs and the children by name of an experiment."""
    client = connect(store)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in found if run not in parents}
    return client, parents, children


def test_a_run_is_told_as_it_was(bench, store, capsys):
    values = bench.values(
        recipe__tune=TUNE, recipe__learning_rate=0.5, track={"uri": str(store), "experiment": "whole"}
    )
    result = run_experiment(build_run(values))["result"]
    client, [parent], children = read_family(store, "whole")
    parameters, tags, metrics = parent.data.params, parent.data.tags, parent.data.metrics

    # Parameters hold what was used, of the sections that a run reads.
    assert float(parameters["recipe.learning_rate"]) == result["recipe"]["learning_rate"] != 0.5
    assert parameters["search.predictor"] == result["search"]["predictor"]
    assert parameters["compute.dtype"] == tags["precision"] == choose_compute().dtype
    assert parameters["compute.device"] in ("cpu", "cuda")
    assert not [key for key in parameters if key.startswith(COMMANDS_OWN)]
    assert "null" not in parameters.values()
    assert len(parameters) < 70
    asked = json.loads(open_artifact(client, parent, "parameters.json"))
    assert asked["recipe"]["learning_rate"] == 0.5

    # The verdict as tags and description.
    verdict = result["verdict"]
    assert tags["verdict"] == verdict["outcome"]
    assert tags["gain"] == f"{verdict['gain']:+.4f}"
    assert "(95%)" in tags["gain_interval"]
    pairs = (
        f"2 pairs of 2-step fine-tunes on fresh seeds (the recovery has {values['recover']['steps']} steps)"
    )
    assert tags["verdict.evidence"] == pairs
    assert f"Over {pairs}, the searched ranks" in tags["mlflow.note.content"]
    assert "In the full recoveries" in tags["mlflow.note.content"]
    assert metrics["gain"] == pytest.approx(verdict["gain"])

    # Each stage has its trials as children, and curves of its own.
    assert {name.partition("-")[0] for name in children} == {"tune", "search", "confirm"}
    tuned = {
        (float(run.data.params["learning_rate"]), run.data.metrics.get("loss"))
        for name, run in children.items()
        if name.startswith("tune")
    }
    assert tuned == {(trial["learning_rate"], trial["loss"]) for trial in result["tuning"]}
    records = [json.loads(line) for line in (bench.output / "records.jsonl").read_text().splitlines()]
    for run in children.values():
        lasted = (run.info.end_time - run.info.start_time) / 1000
        assert lasted == pytest.approx(run.data.metrics["seconds"], abs=0.002)
        assert run.info.end_time <= parent.info.end_time + 1000
    assert {run.data.metrics["seconds"] for name, run in children.items() if name.startswith("search")} <= {
        record["costs"]["seconds"] for record in records
    }
    for key, count in (("trial_gain", 2), ("best_trial_gain", 2), ("confirm_gain", 2)):
        points = client.get_metric_history(parent.info.run_id, key)
        assert [point.step for point in points] == list(range(1, count + 1))
    assert len(client.get_metric_history(parent.info.run_id, "loss_uniform")) == 4

    # The same command tells a store that knows nothing of a finished run all of it, and another nothing.
    for experiment in ("whole", "late"):
        run_experiment(build_run({**values, "track": {"uri": str(store), "experiment": experiment}}))
    for experiment in ("whole", "late"):
        client, [other], again = read_family(store, experiment)
        assert again.keys() == children.keys()
        assert other.data.params == parameters
        assert other.data.metrics == metrics
        assert other.info.status == "FINISHED"
        assert [point.step for point in client.get_metric_history(other.info.run_id, "trial_gain")] == [1, 2]


def open_artifact(client, run, name):
    return Path(client.download_artifacts(run.info.run_id, name)).read_text(encoding="utf-8")


def test_accuracies_are_metrics_by_model_and_benchmark(config):
    summary = {
        "boolq": {"metric": "acc", "accuracy": 0.5, "standard_error": 0.1, "n": 10},
        "hub:a+b": {"metric": "acc", "accuracy": 0.25, "standard_error": None, "n": 1},
        "mean": 0.375,
        "mean_standard_error": 0.05,
        "mean_without_boolq": 0.25,
    }
    with open_tracker(config(), "digest") as tracker:
        account.log_benchmarks(tracker, {"searched": summary})
    assert tracker.client.get_run(tracker.run_id).data.metrics == {
        "accuracy/searched/boolq": 0.5,
        "accuracy_standard_error/searched/boolq": 0.1,
        "accuracy/searched/hub_a_b": 0.25,
        "accuracy/searched/mean": 0.375,
        "accuracy_standard_error/searched/mean": 0.05,
    }


def test_a_password_is_written_nowhere(bench, capsys, caplog, monkeypatch):
    command = bench.command("run", track={"enabled": True})
    given = "track.uri=http://me:SECRET@127.0.0.1:9"
    assert main([*command, "--set", given]) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://me:SECRET@127.0.0.1:9/db")
    assert main(command) == 2
    assert main([*command, "--set", given.replace("9", "port")]) == 2
    shown = capsys.readouterr()
    assert "no tracking server answers" in shown.err
    assert "SECRET" not in shown.err + shown.out + caplog.text
    assert not list(bench.output.rglob("*.json*"))  # it was told before anything was done

    values = bench.values(track={"uri": "http://me:SECRET@127.0.0.1:9"})
    with open_run(bench.output, build_run(values)):
        written = [path for path in bench.output.rglob("*") if path.is_file()]
    assert "http://me:***@127.0.0.1:" in (bench.output / "run.yaml").read_text()
    assert not [path for path in written if b"SECRET" in path.read_bytes()]
