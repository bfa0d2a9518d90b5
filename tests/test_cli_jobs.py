"""The verbs that compute, one after the other, on a pico model."""

from __future__ import annotations

import errno
import json
import os
import shutil

import pytest

from rankadaptor.cli import main
from tests.bench import make_bench


@pytest.fixture
def bench(tmp_path, monkeypatch, pico_model, pico_tokenizer):
    monkeypatch.chdir(tmp_path)
    return make_bench(tmp_path, monkeypatch, pico_model, pico_tokenizer)


def test_run_then_report_and_a_second_run_repeats_nothing(bench, capsys):
    command = bench.command("run")
    assert main(command) == 0
    shown = capsys.readouterr()
    result = json.loads((bench.output / "result.json").read_text())["result"]
    assert result["verdict"]["outcome"] in shown.out.lower()
    assert "ETA" in shown.err
    assert "uniform" in shown.out
    records = (bench.output / "records.jsonl").read_text()
    (bench.output / "report.html").unlink()

    assert main(["report", command[1]]) == 0
    assert (bench.output / "report.html").is_file()
    kept = bench.folder / "kept" / "pico.json"
    kept.parent.mkdir()
    shutil.copy(bench.output / "result.json", kept)
    page = bench.folder / "page.md"
    assert main(["report", str(kept), "--into", str(page)]) == 2  # no such document
    page.write_text("# Page\n")
    capsys.readouterr()
    assert main(["report", str(kept), "--into", str(page)]) == 0
    assert "changed" in capsys.readouterr().out
    assert not kept.with_suffix(".html").exists()
    assert (bench.folder / "figures" / "pico-ranks.png").is_file()
    assert not (bench.folder / "experiments").exists()
    assert main(["plan", command[1]]) == 0
    assert capsys.readouterr().out.count("done") >= 4

    assert main(command) == 0
    assert (bench.output / "records.jsonl").read_text() == records
    assert json.loads((bench.output / "result.json").read_text())["result"]["verdict"] == result["verdict"]


def test_collect_then_meta_train_then_run_with_the_trained_predictor(bench, capsys):
    changes = {
        "collect": {"corpus": str(bench.folder / "corpus"), "allocations": 10},
        "search__steps": 2,
        "meta_train": {"output": str(bench.folder / "predictor"), "epochs": 2},
        "search__predictor": "meta",
        "search__predictor_path": str(bench.folder / "predictor"),
    }
    for name, skip in (("one", 0), ("two", 1)):
        output = str(bench.folder / name)
        command = bench.command("collect", name=name, output=output, prune__skip_first=skip, **changes)
        assert main(command) == 0
        assert f"11 records of setting {name}" in capsys.readouterr().out  # uniform is not counted
    assert main(bench.command("meta-train", **changes)) == 0
    assert "search.predictor: meta" in capsys.readouterr().out
    assert main(bench.command("run", **changes)) == 0
    searched = json.loads((bench.output / "result.json").read_text())["result"]["search"]
    assert searched["predictor"] == "meta"

    # The run keeps its predictor: a continued search asks the same, whatever became of the original.
    records = (bench.output / "records.jsonl").read_text()
    shutil.rmtree(bench.folder / "predictor")
    (bench.output / "steps" / "search.json").unlink()
    assert main(bench.command("run", **changes)) == 0
    assert json.loads((bench.output / "result.json").read_text())["result"]["search"] == searched
    assert (bench.output / "records.jsonl").read_text() == records


def test_evaluate_scores_the_run_s_models_and_any_other(bench, capsys):
    """On a benchmark of our own, as a task file of lm-eval."""
    questions = bench.folder / "questions.jsonl"
    rows = [
        {"query": f"What follows {n}? Answer:", "choices": [f" {n + 1}", " cat"], "gold": 0} for n in range(6)
    ]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = bench.folder / "counting.yaml"
    task.write_text(
        "task: counting\ndataset_path: json\noutput_type: multiple_choice\nvalidation_split: validation\n"
        f"dataset_kwargs: {{data_files: {{validation: {questions}}}}}\n"
        "doc_to_text: query\ndoc_to_choice: choices\ndoc_to_target: gold\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\nmetadata: {version: 1}\n"
    )
    assert main(bench.command("run")) == 0
    evaluation = {"benchmarks": [str(task)], "limit": 4, "models": ["dense", "pruned", "uniform", "searched"]}
    command = bench.command("evaluate", evaluate=evaluation)
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert set(scores["models"]) == set(evaluation["models"])
    assert all(0 <= summary["counting"]["accuracy"] <= 1 for summary in scores["models"].values())
    assert main([*command, "--adapter", str(bench.output / "adapters" / "uniform")]) == 0
    shown = capsys.readouterr().out
    assert "counting" in shown
    assert "Too few items to compare models: 4 per benchmark" in shown
    assert main([*command, "--adapter", str(bench.folder)]) == 2
    assert "PEFT" in capsys.readouterr().err


def test_a_disk_that_fills_up_loses_nothing_that_was_measured(bench, capsys):
    command, records = bench.command("run"), bench.output / "records.jsonl"
    sound = os.fsync

    def refuse_after_two_records(handle):
        if records.exists() and records.read_text().count("\n") > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sound(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", refuse_after_two_records)
        assert main(command) == 2
    assert "No space left" in capsys.readouterr().err
    kept = records.read_text()
    assert kept.count("\n") == 2
    assert kept.endswith("\n")
    assert main(command) == 0
    assert records.read_text().startswith(kept)
