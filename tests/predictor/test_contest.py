from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rankadaptor.corpus import Corpus
from rankadaptor.errors import InputError
from rankadaptor.pipeline import benchmark_predictors
from rankadaptor.pipeline.training import write_card
from rankadaptor.predictor import make_predictor
from rankadaptor.predictor.ceiling import find_ceiling
from rankadaptor.predictor.contest import average_rows, compare_predictors, judge_setting
from rankadaptor.predictor.evidence import Evidence, list_evidence
from rankadaptor.predictor.observations import gather_observations
from rankadaptor.predictor.rank_agreement import compute_kendall
from tests.predictor.contested import make_corpus, measure_repeatedly
from tests.predictor.oracle import make_oracle, make_space, measure_sample

FIELDS = {
    "predictor", "setting", "held_out", "records", "kendall", "ceiling", "kendall_ratio", "spearman",
    "regret1", "coverage90", "p_null",
}  # fmt: skip


def test_the_ceiling_is_what_the_truth_reaches() -> None:
    space = make_space(blocks=4)
    oracle = make_oracle(space, seed=3, noise=0.6)
    observations = gather_observations(space, measure_repeatedly(oracle, 60, repeated=30))
    reached = [
        compute_kendall(oracle.true_gains(choices := space.sample_choices(60, seed)), np.array(
            [oracle(space.from_choices(row)).gain for row in choices.tolist()]
        ))
        for seed in range(12)
    ]  # fmt: skip
    ceiling = find_ceiling(observations)
    assert ceiling.signal
    assert ceiling.kendall == pytest.approx(np.mean(reached), abs=0.1)
    null = make_oracle(space, seed=3, noise=1.0)
    null.weights = np.zeros_like(null.weights)
    silent = find_ceiling(gather_observations(space, measure_repeatedly(null, 60, repeated=30)))
    assert silent.signal is False
    assert silent.kendall is not None
    assert silent.kendall < 0.45
    assert find_ceiling(gather_observations(space, measure_sample(oracle, 20))).kendall is None


def test_rows_tell_signal_from_chance() -> None:
    space = make_space(blocks=3)
    evidence = Evidence("one", space, tuple(measure_repeatedly(make_oracle(space, seed=1), 50, repeated=12)))
    rows = judge_setting(make_predictor("gaussian_process"), evidence, counts=(0, 16, 48), draws=3)
    assert [row["records"] for row in rows] == [0, 16]  # 48 would leave two to ask for
    assert set(rows[0]) > FIELDS
    blind, taught = rows
    assert blind["kendall"] == 0.0
    assert blind["p_null"] == 1.0
    assert taught["p_null"] < 0.05
    assert taught["kendall"] > taught["null_kendall95"]
    assert taught["kendall_ratio"] == pytest.approx(taught["kendall"] / taught["ceiling"])
    assert taught["coverage50"] < taught["coverage90"]
    assert 0.0 <= taught["regret5"] <= taught["regret1"]
    assert rows == judge_setting(make_predictor("gaussian_process"), evidence, counts=(0, 16), draws=3)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "corpus")


def test_a_benchmark_that_is_cut_off_continues(corpus: Path, tmp_path: Path, caplog) -> None:
    output = tmp_path / "results" / "predictors.json"
    rows = benchmark_predictors(corpus, output=output, predictors=["meta", "ridge"], draws=2)
    assert json.loads(output.read_text()) == rows
    assert {row["setting"] for row in rows} == {"one", "two", "three", "kept"}
    assert {row["setting"] for row in rows if row["held_out"]} == {"kept"}
    summary = json.loads((output.parent / "predictors-summary.json").read_text())
    assert summary["corpus_digest"] == Corpus.load(corpus).digest
    best = {
        row["predictor"]: row["kendall"]
        for row in average_rows(rows, signal=None)
        if row["records"] == 0 and not row["held_out"]
    }
    assert best["meta"] > 0.3 > best["ridge"] == 0.0

    partial = output.with_suffix(".partial.jsonl")
    lines = partial.read_text().splitlines()
    partial.write_text("\n".join([*lines[:3], lines[3][:40]]))  # cut off in the fourth
    more = benchmark_predictors(corpus, output=output, predictors=["meta", "ridge"], draws=2)
    assert more == rows
    assert "incomplete line" in caplog.text
    listed = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert benchmark_predictors(corpus, predictors=["ridge"], draws=2)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == listed  # only a table
    with pytest.raises(InputError, match="no contestant 'oracle'"):
        benchmark_predictors(corpus, output=output, predictors=["oracle"])


def test_a_model_can_be_left_out_with_all_its_settings() -> None:
    space = make_space(blocks=3)
    evidence = [
        Evidence(name, space, tuple(measure_sample(make_oracle(space, seed=index), 12)), model=name[0])
        for index, name in enumerate(("a1", "a2", "b1"))
    ]
    seen: dict[str, set[str]] = {}

    def judge(name, setting, make):
        make()
        return []

    for siblings in (True, False):

        def train(others, siblings=siblings):
            seen.setdefault(str(siblings), set()).add("+".join(each.name for each in others))
            return make_predictor("ridge")

        compare_predictors({"one": train}, evidence, judge=judge, siblings=siblings)
    assert seen == {"True": {"a2+b1", "a1+b1", "a1+a2"}, "False": {"b1", "a1+a2"}}


def test_runs_of_the_usual_length_are_the_setting_s_score(corpus: Path) -> None:
    loaded = Corpus.load(corpus)
    records = loaded.records("one")
    loaded.append(type(records[0])(**{**records[0].__dict__, "steps": 96}))
    assert {r.steps for r in list_evidence(loaded)[1].records} == {24}
    names = [each.name for each in list_evidence(loaded, all_lengths=True)]
    assert "one (96 steps)" in names


def test_the_card_says_what_it_rests_on() -> None:
    card = {
        "summary": "60 allocations in 1 settings", "settings": {"one": 60}, "not_trained_on": ["kept"],
        "corpus_digest": "abc", "benchmark": None,
    }  # fmt: skip
    text = write_card(card)
    assert "`abc`" in text
    assert "rankadaptor benchmark" in text
    assert "When not to trust it" in text
    row = {
        "held_out": True, "records": 16, "settings": 4, "kendall": 0.5, "kendall_ratio": None,
        "coverage90": 0.9, "regret1": 0.001,
    }  # fmt: skip
    assert "| 4 with signal | held out | 16 | 0.50 |" in write_card(
        {**card, "benchmark": {"with_signal": [row], "without_signal": []}}
    )
