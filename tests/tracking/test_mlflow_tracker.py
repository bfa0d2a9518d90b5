"""Runs and trials in a real sqlite store, also after an interruption, and with a store that fails."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

import pytest

from rankadaptor.errors import StorageError
from rankadaptor.tracking import Tracker, open_tracker
from rankadaptor.tracking.store import connect


def read_runs(tracker):
    """Return parent run and children by name, as a fresh client sees them."""
    client = connect(tracker.store)
    runs = client.search_runs([tracker.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {
        run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == tracker.run_id
    }
    assert len(children) == len(runs) - len(parents)
    return client, parents, children


def read_artifact(client, run, name):
    return Path(client.download_artifacts(run.info.run_id, name)).read_text(encoding="utf-8")


def test_a_run_shows_parameters_steps_trials_and_files(config, record, store, tmp_path_factory):
    page = tmp_path_factory.mktemp("files") / "report.html"
    page.write_text("<p>report</p>")
    with open_tracker(config(), "digest-1") as tracker:
        tracker.log_parameters({"prune": {"ratio": 0.2}, "seed": 0, "long": "x" * 7000, "none": None})
        tracker.log_tags({"verdict": "no difference", "mlflow.note.content": "Verdict: none."})
        for step in (10, 20):
            tracker.log_metrics(
                {"loss_uniform": 4.0 - step / 100, "absent": None, "nan": float("nan")}, step=step
            )
        tracker.log_record(record(12, 4, gain=0.01, created="2026-01-02T03:04:05+00:00"), name="search-001")
        tracker.log_record(record(4, 12, gain=None), name="search-002")
        for rate in (0.001, 0.002):
            name = f"tune-{1000 * rate:03.0f}"
            tracker.log_record(record(8, 8), name=name, parameters={"learning_rate": rate})
        tracker.log_json({"values": [10, 6]}, "allocation.json")
        tracker.log_file(page)
        tracker.log_file(page.parent, folder="out")

    client, [parent], children = read_runs(tracker)
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "pico")
    assert parent.data.params == {"prune.ratio": "0.2", "seed": "0", "none": "null"}
    # The settings whole, in which nothing is cut, and what MLflow's pages read.
    assert json.loads(read_artifact(client, parent, "parameters.json"))["name"] == "pico"
    assert (parent.data.tags["verdict"], parent.data.tags["mlflow.note.content"][:7]) == (
        "no difference",
        "Verdict",
    )
    assert parent.data.tags["mlflow.source.name"] == "rankadaptor"
    assert parent.data.tags["mlflow.user"]
    assert parent.data.tags["torch"]
    history = client.get_metric_history(parent.info.run_id, "loss_uniform")
    assert [(point.step, point.value) for point in history] == [(10, 3.9), (20, 3.8)]
    assert not {"absent", "nan"} & parent.data.metrics.keys()
    assert json.loads(read_artifact(client, parent, "allocation.json")) == {"values": [10, 6]}
    assert read_artifact(client, parent, "report.html") == "<p>report</p>"
    assert client.list_artifacts(parent.info.run_id, f"out/{page.parent.name}")

    assert sorted(children) == ["search-001", "search-002", "tune-001", "tune-002"]
    trials = client.search_runs([tracker.experiment_id], "params.learning_rate != '0'")
    assert sorted(run.data.params["learning_rate"] for run in trials) == ["0.001", "0.002"]
    good, bad = children["search-001"], children["search-002"]
    # A child lasts as long as its trial did, and ends when that did.
    assert (good.info.start_time, good.info.end_time) == (1_767_323_045_000 - 3500, 1_767_323_045_000)
    assert bad.info.end_time - bad.info.start_time == 3500
    assert good.data.metrics["gain"] == pytest.approx(0.01)
    assert good.data.params["values"] == "[12, 4]"
    assert json.loads(read_artifact(client, good, "allocation.json"))["values"] == [12, 4]
    assert (good.info.status, bad.info.status) == ("FINISHED", "FAILED")
    assert "NaN" in bad.data.tags["rankadaptor.error"]
    assert "gain" not in bad.data.metrics
    # Everything lies in the store's own folder.
    assert (store / "mlflow.db").is_file()
    assert (store / "artifacts" / parent.info.run_id / "artifacts" / "report.html").is_file()


def cut_off_in_the_third_trial(config, digest, records):
    """Log as a run does that is stopped by Ctrl-C while it writes its third trial."""
    with contextlib.suppress(KeyboardInterrupt), open_tracker(config, digest) as tracker:
        tracker.log_parameters({"seed": 0, "folder": "a"})
        tracker.log_metrics({"loss_pruned": 5.0})
        for number, each in enumerate(records, start=1):
            tracker.log_record(each, name=f"search-{number:03d}")
        tags = {"mlflow.parentRunId": tracker.run_id, "rankadaptor.trial": "unfinished"}
        tracker.client.create_run(tracker.experiment_id, run_name="search-003", tags=tags)
        raise KeyboardInterrupt
    return tracker


def test_a_resumed_run_continues_its_parent_and_repeats_no_trial(config, record):
    first = [record(12, 4), record(4, 12, gain=-0.02)]
    before = cut_off_in_the_third_trial(config(), "digest-2", first)
    assert before.client.get_run(before.run_id).info.status == "KILLED"

    with open_tracker(config(), "digest-2") as after:
        assert after.resumed
        assert after.client.get_run(after.run_id).info.status == "RUNNING"
        after.log_parameters({"seed": 0, "folder": "b"})
        after.log_metrics({"loss_pruned": 5.0})
        after.log_parameters({"seed": 0, "rate": 0.01})
        for number, each in enumerate([*first, record(10, 6, gain=0.03)], start=1):
            after.log_record(each, name=f"search-{number:03d}")

    client, [parent], children = read_runs(after)
    assert after.run_id == before.run_id == parent.info.run_id
    assert parent.info.status == "FINISHED"
    assert sorted(children) == ["search-001", "search-002", "search-003"]
    assert children["search-003"].data.metrics["gain"] == pytest.approx(0.03)
    assert len(client.get_metric_history(parent.info.run_id, "loss_pruned")) == 1
    assert parent.data.params == {"seed": "0", "folder": "a", "rate": "0.01"}


def test_another_digest_or_a_fresh_start_is_another_run(config):
    ids = []
    for digest, fresh in (("a", False), ("b", False), ("a", False), ("a", True)):
        with open_tracker(config(), digest, fresh=fresh) as tracker:
            ids.append(tracker.run_id)
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3


def test_a_failing_run_is_marked_and_its_error_passes(config):
    with pytest.raises(ZeroDivisionError), open_tracker(config(), "digest") as tracker:
        _ = 1 / 0
    assert tracker.client.get_run(tracker.run_id).info.status == "FAILED"


class Broken:
    """A client whose every call fails, with one of MLflow's codes."""

    def __init__(self, code):
        self.code, self.calls = code, 0

    def __getattr__(self, name):
        from mlflow.exceptions import MlflowException

        self.calls += 1
        raise MlflowException("postgresql://me:SECRET@host is unwell", error_code=self.code)


def test_entries_that_a_store_refuses_cost_warnings_not_the_run(config, record, caplog):
    with open_tracker(config(), "digest") as tracker:
        working, tracker.client = tracker.client, Broken(1000)  # INVALID_PARAMETER_VALUE
        with caplog.at_level(logging.WARNING, logger="rankadaptor"):
            for number in range(6):
                tracker.log_record(record(number, 1), name=f"search-{number}")
        warnings = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]
        assert len(warnings) == 3
        assert "the run goes on" in warnings[-1]
        assert "SECRET" not in "".join(warnings)
    assert working.get_run(tracker.run_id) is not None


def test_a_store_that_is_full_for_a_while_is_told_later(config, record, caplog):
    with caplog.at_level(logging.INFO, logger="rankadaptor"):
        with open_tracker(config(), "digest-full") as tracker:
            working, tracker.client = tracker.client, Broken(2)  # TEMPORARILY_UNAVAILABLE: full, locked
            for number in range(6):
                tracker.log_record(record(number, 1), name=f"search-{number}")
            assert tracker.client.calls == 1  # it is left in peace
            assert "the run goes on, and what is meant for it waits" in caplog.text
            tracker.client = working
        assert "works again" in caplog.text
        assert len(read_runs(tracker)[2]) == 6

        # One that never works again: the run ends as it would, and continuing adds what is missing.
        with open_tracker(config(), "digest-full") as tracker:
            tracker.client = Broken(2)
            tracker.log_tags({"verdict": "better"})
            tracker.log_record(record(7, 1), name="search-7")
        assert "did not take 3 entries" in caplog.text
        assert "the same command adds what is missing" in caplog.text
    with open_tracker(config(), "digest-full") as tracker:
        tracker.log_record(record(7, 1), name="search-7")
    assert len(read_runs(tracker)[2]) == 7


def test_a_database_that_is_really_full_waits_until_there_is_space(config, caplog):
    from sqlalchemy import event

    pages = [1]  # sqlite lets a file keep the pages it has, and none more

    def limit(connection, *_):
        connection.execute(f"PRAGMA max_page_count = {pages[0]}").close()

    with open_tracker(config(), "digest-space") as tracker:
        engine = tracker.client._tracking_client.store.engine
        event.listen(engine, "checkout", limit)
        with caplog.at_level(logging.INFO, logger="rankadaptor"):
            for number in range(40):
                tracker.log_tags({f"tag-{number}": "x" * 4000})
        assert "is full" in caplog.text
        pages[0] = 2**30
    event.remove(engine, "checkout", limit)
    run = tracker.client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert sum(name.startswith("tag-") for name in run.data.tags) == 40


def test_a_defect_in_what_is_logged_is_not_swallowed(config):
    with pytest.raises(TypeError), open_tracker(config(), "digest") as tracker:
        tracker.log_metrics({"loss": "low"})


def test_nothing_global_is_set(config):
    import mlflow

    before = mlflow.get_tracking_uri()
    with open_tracker(config(), "digest"):
        assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before


def test_figures_are_kept(config):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot([1, 2])
    with open_tracker(config(), "digest") as tracker:
        tracker.log_figure(figure, "plots/ranks.png")
    [found] = tracker.client.list_artifacts(tracker.run_id, "plots")
    assert found.path == "plots/ranks.png"


def test_missing_file_is_named(config):
    with pytest.raises(StorageError, match=r"absent\.html"), open_tracker(config(), "digest") as tracker:
        tracker.log_file(Path("absent.html"))


def test_tracking_off_takes_everything(config, record):
    with open_tracker(config(enabled=False), "digest") as tracker:
        assert type(tracker) is Tracker
        tracker.log_parameters({"seed": 0})
        tracker.log_metrics({"loss": 1.0}, step=3)
        tracker.log_record(record(1, 2), name="search-001")
        tracker.log_json({}, "a.json")
        tracker.log_file(Path("absent"))
