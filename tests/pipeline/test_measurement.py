"""Every way of measuring, through a whole run at pico size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.components.adapter import read_space
from rankadaptor.config import build_run
from rankadaptor.corpus import RecordFile
from rankadaptor.errors import ConfigError
from rankadaptor.pipeline import run_experiment
from rankadaptor.planning import estimate
from tests.pipeline.earlier import age_folder


def run(values: dict[str, Any], output: Path, **measure: Any) -> dict[str, Any]:
    config = build_run({**values, "measure": measure})
    assert any(step.name == "search" for step in estimate(config).steps)
    return dict(run_experiment(config, output=output)["result"])


def test_successive_halving_climbs_and_confirms_the_best_of_the_last_rung(pico_run, tmp_path):
    result = run(pico_run, tmp_path, kind="successive_halving", rungs=(1, 2), keep=0.5)
    rungs = result["search"]["rungs"]
    assert [(rung["steps"], len(rung["records"])) for rung in rungs] == [(1, 4), (2, 2)]
    assert [rung["fidelity"] for rung in rungs] == [0.25, 0.5]
    assert result["search"]["best"] == rungs[1]["records"][0]["values"] == result["verdict"]["candidate"]
    records = RecordFile(tmp_path / "records.jsonl").records
    paired = {record.steps for record in records if record.values == tuple(result["space"]["reference"])}
    assert {1, 2} <= paired  # uniform at every rung
    trained = sum(record.tokens for record in records if record.seed == 0)
    reference = tuple(result["space"]["reference"])
    tuned = next(r.tokens for r in records if (r.values, r.seed, r.steps) == (reference, 0, 2))
    assert result["cost"]["tokens_trained"]["search"] + tuned == trained  # each run counts once


def test_elastic_trains_once_keeps_its_records_apart_and_starts_the_finals(pico_run, tmp_path):
    pico_run["search"]["evaluations"] = 2
    cold = run(pico_run, tmp_path / "cold", kind="elastic", steps=3)
    warm = run(pico_run, tmp_path / "warm", kind="elastic", steps=3, warm_start=True)
    assert warm["search"]["history"] == cold["search"]["history"]
    assert warm["search"]["steps"] == 3
    assert len(warm["search"]["history"]) == 2
    folder = tmp_path / "warm"
    records = RecordFile(folder / "elastic.jsonl").records
    assert len(records) == 3
    assert {record.tokens for record in records} == {0}
    assert (
        warm["cost"]["tokens_trained"]["search"]
        == json.loads((folder / "elastic" / "elastic.json").read_text())["tokens"]
    )
    for name in ("uniform", "searched"):
        assert warm["recovered"][name]["curve"][0] != cold["recovered"][name]["curve"][0]
    # cut off after the search, by an earlier version too: the elastic adapter is read, not trained again
    age_folder(folder)
    (folder / "steps" / "search.json").unlink()
    (folder / "result.json").unlink()
    kept = [folder / "elastic" / "elastic.safetensors", folder / "elastic.jsonl", folder / "records.jsonl"]
    before = [path.stat().st_mtime_ns for path in kept]
    again = run(pico_run, folder, kind="elastic", steps=3, warm_start=True)
    assert again["search"]["history"] == warm["search"]["history"]
    assert [path.stat().st_mtime_ns for path in kept] == before


@pytest.mark.parametrize("kind", ["spectra", "reconstruction"])
def test_scores_deal_the_ranks_out_without_a_search(pico_run, tmp_path, kind):
    result = run(pico_run, tmp_path, kind=kind, examples=8)
    assert result["search"]["history"] == []
    assert result["search"]["scores"]["best"] >= result["search"]["scores"]["uniform"]
    assert result["cost"]["tokens_trained"]["search"] == 0
    space = read_space(json.loads((tmp_path / "steps" / "space.json").read_text())["space"])
    assert space.is_filled(space.allocation(result["search"]["best"]))
    assert json.loads((tmp_path / "scores.json").read_text())["kind"] == kind
    assert result["verdict"]["outcome"] in ("better", "no difference", "worse")


def test_the_default_measure_leaves_the_digest_and_others_change_it():
    assert build_run({"measure": {"kind": "short_run"}}).digest() == build_run({}).digest()
    assert build_run({"measure": {"kind": "elastic"}}).digest() != build_run({}).digest()
    assert build_run({}).measure.list_rungs(72) == (8, 24, 72)
    assert build_run({}).measure.list_rungs(2) == (1, 2)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"measure": {"rungs": [4, 4]}}, "measure.rungs"),
        ({"measure": {"rungs": [4, 4000]}}, "measure.rungs"),
        ({"measure": {"kind": "reconstruction"}, "prune": None}, "measure.kind"),
        ({"measure": {"warm_start": True}}, "measure.warm_start"),
        ({"measure": {"kind": "guess"}}, "measure.kind"),
    ],
)
def test_what_does_not_go_together_is_named(values, key):
    with pytest.raises(ConfigError, match=key):
        build_run(values)
