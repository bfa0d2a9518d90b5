"""The Python API and a run file are one implementation: the same job done both ways gives the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rankadaptor as ra
from rankadaptor.components.adapter import compute_first_digest

TIMES = ("created", "commit")


def strip_record(record: ra.Record) -> dict[str, Any]:
    """Leave out of a record what tells when it was measured and how long it took."""
    data = {key: value for key, value in record.to_json().items() if key not in TIMES}
    data["costs"] = {key: value for key, value in data["costs"].items() if key != "seconds"}
    return data


def test_the_python_api_does_what_a_run_does(
    undisturbed: tuple[dict[str, Any], Path], pico_folder: Path, pico_rows: Path, tmp_path: Path
) -> None:
    document, folder = undisturbed
    result, stored = document["result"], ra.RecordFile(folder / "records.jsonl").records

    rows = str(pico_rows)
    model, tokenizer = ra.load(pico_folder)
    cut = ra.prune(
        model, tokenizer, ratio=0.3, scope="global", align=4, calibration=rows, examples=4, length=16
    )
    assert ra.describe_model(cut)["parameters"] == result["pruning"]["parameters_after"]
    pruned, tokenizer = ra.load(folder / "pruned")
    assert all(
        (ours == theirs).all() for ours, theirs in zip(cut.parameters(), pruned.parameters(), strict=True)
    )
    space = ra.RankSpace.from_model(pruned, like_uniform=2, ranks=[0, 1, 2, 3, 4])
    assert compute_first_digest(space) == result["space"]["digest"]
    held_out = ra.load_rows(rows, limit=8, seed=0)
    train = ra.load_rows(rows, skip=8, seed=0)
    tuned = ra.tune_recipe(
        pruned,
        tokenizer,
        space,
        data=train,
        held_out=held_out,
        recipe=ra.Recipe(batch_size=4, micro_batch_size=4, sequence_length=32, steps=4),
        learning_rates=(1e-3, 1e-2),
        steps=2,
    )
    assert tuned.recipe.to_json() == result["recipe"]
    assert [trial.loss for trial in tuned.trials] == [trial["loss"] for trial in result["tuning"]]

    records = ra.RecordFile(tmp_path / "records.jsonl")
    measure = ra.ShortFineTune(
        pruned,
        tokenizer,
        data=rows,
        held_out_rows=8,
        recipe=tuned.recipe,
        steps=2,
        records=records,
        setting=stored[0].setting,
    )
    search = ra.Search(space, ra.make_predictor("ridge"), candidates=50)
    found = search.run(measure, evaluations=4, batch=2)
    assert list(found.best.values) == result["search"]["best"]
    assert [step.to_json() for step in found.history] == result["search"]["history"]
    verdict = ra.confirm(measure, found.best, seeds=2, searched=found.records)
    told = {key: value for key, value in result["verdict"].items() if key not in ("seconds", "tokens")}
    assert json.loads(json.dumps(verdict.to_json())) == told
    here, there = (
        {(record.values, record.seed, record.steps): strip_record(record) for record in measured}
        for measured in (records.records, stored)
    )
    assert here == there

    for name, allocation in (("uniform", space.reference()), ("searched", found.best)):
        adapter = ra.recover(
            pruned, tokenizer, allocation, data=train, held_out=held_out, recipe=tuned.recipe
        )
        adapter.save_pretrained(tmp_path / name)
        for file in ("adapter_model.safetensors", "adapter_config.json", "rankadaptor.json"):
            assert (tmp_path / name / file).read_bytes() == (folder / "adapters" / name / file).read_bytes()


def test_early_stopping_needs_rows_to_judge_it_on(pico_folder: Path, pico_rows: Path) -> None:
    model, tokenizer = ra.load(pico_folder)
    space = ra.RankSpace.from_model(model, like_uniform=2)
    with pytest.raises(ra.InputError, match=r"patience=2.*held_out"):
        ra.recover(model, tokenizer, space.reference(), data=str(pico_rows), patience=2)


def test_a_run_with_a_teacher_follows_the_model_before_pruning(
    pico_run: dict[str, Any], pico_folder: Path, pico_rows: Path, tmp_path: Path
) -> None:
    from rankadaptor.config import build_run
    from rankadaptor.pipeline import run_experiment

    pico_run["recipe"] |= {"loss": "mixed", "distill_weight": 0.7, "temperature": 2.0, "tune": None}
    pico_run["search"]["evaluations"] = 2
    document = run_experiment(build_run(pico_run), output=tmp_path / "run")
    recipe = ra.Recipe(**document["result"]["recipe"])
    assert (recipe.loss, recipe.distill_weight, recipe.temperature) == ("mixed", 0.7, 2.0)

    pruned, tokenizer = ra.load(tmp_path / "run" / "pruned")
    space = ra.RankSpace.from_model(pruned, like_uniform=2, ranks=[0, 1, 2, 3, 4])
    train, held_out = (
        ra.load_rows(str(pico_rows), skip=8, seed=0),
        ra.load_rows(str(pico_rows), limit=8, seed=0),
    )
    given = {"data": train, "held_out": held_out, "recipe": recipe}
    adapter = ra.recover(pruned, tokenizer, space.reference(), teacher=pico_folder, **given)
    adapter.save_pretrained(tmp_path / "mine")
    theirs = tmp_path / "run" / "adapters" / "uniform"
    name = "adapter_model.safetensors"
    assert (tmp_path / "mine" / name).read_bytes() == (theirs / name).read_bytes()
    outcome = json.loads((theirs / "outcome.json").read_text())
    assert outcome["teacher"]["tokens"] == outcome["tokens"]
    assert outcome["teacher"]["seconds"] > 0

    measure = ra.ShortFineTune(
        pruned, tokenizer, data=train, held_out=held_out, recipe=recipe, steps=2, teacher=pico_folder
    )
    stored = ra.RecordFile(tmp_path / "run" / "records.jsonl").records
    uniform = next(each for each in stored if each.values == space.reference().values and each.seed == 0)
    assert measure(space.reference(), seed=0).loss == uniform.loss
