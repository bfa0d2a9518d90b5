from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from rankadaptor.corpus import Corpus, Setting
from rankadaptor.errors import CorpusError, InputError
from rankadaptor.pipeline import benchmark_predictors
from rankadaptor.pipeline.training import write_card
from rankadaptor.predictor import make_predictor
from rankadaptor.predictor.ceiling import find_ceiling
from rankadaptor.predictor.contest import average_rows, hold_contest, judge_setting
from experiments.predictors.distance import _tabulate
from rankadaptor.predictor.evidence import Evidence, list_evidence
from rankadaptor.predictor.observations import gather_observations
from rankadaptor.predictor.rank_agreement import compute_kendall
from rankadaptor.report import fill_contest
from experiments.predictors.aims import render_aims
from experiments.predictors.page import render_silent, write_start
from tests.predictor.oracle import Oracle, make_oracle, make_space, measure_sample

FIELDS = {
    "predictor", "setting", "held_out", "records", "kendall", "ceiling", "kendall_ratio", "spearman",
    "regret1", "coverage90", "p_null",
}  # fmt: skip


def measure(oracle: Oracle, count: int, *, repeated: int, seed: int = 0) -> list:
    records = measure_sample(oracle, count, seed=seed)
    return [*records, *(oracle(oracle.space.allocation(r.values), seed=1) for r in records[:repeated])]


def test_the_ceiling_is_what_the_truth_reaches() -> None:
    space = make_space(blocks=4)
    oracle = make_oracle(space, seed=3, noise=0.6)
    observations = gather_observations(space, measure(oracle, 60, repeated=30))
    reached = [
        compute_kendall(oracle.true_gains(values := space.sample_array(60, seed)), np.array(
            [oracle(space.allocation(row)).gain for row in values.tolist()]
        ))
        for seed in range(12)
    ]  # fmt: skip
    ceiling = find_ceiling(observations)
    assert ceiling.signal
    assert ceiling.kendall == pytest.approx(np.mean(reached), abs=0.1)
    null = make_oracle(space, seed=3, noise=1.0)
    null.weights = np.zeros_like(null.weights)
    silent = find_ceiling(gather_observations(space, measure(null, 60, repeated=30)))
    assert silent.signal is False
    assert silent.kendall is not None
    assert silent.kendall < 0.45
    assert find_ceiling(gather_observations(space, measure_sample(oracle, 20))).kendall is None


def test_rows_tell_signal_from_chance() -> None:
    space = make_space(blocks=3)
    evidence = Evidence("one", space, tuple(measure(make_oracle(space, seed=1), 50, repeated=12)))
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
    folder = tmp_path / "corpus"
    made = Corpus.create(folder)
    for index, name in enumerate(("one", "two", "three", "kept")):
        space = make_space(blocks=3 + index, slots="half_block")
        parts = {"model": {"name": name}, "pruning": {}, "data": {}, "recipe": {}}
        made.add_setting(Setting(name=name, space=space.to_json(), held_out=name == "kept", **parts))
        for record in measure(make_oracle(space, seed=index, shared=5, noise=0.3), 24, repeated=8):
            made.append(type(record)(**{**record.__dict__, "setting": name}))
    return folder


def test_a_benchmark_that_is_cut_off_continues(corpus: Path, tmp_path: Path, caplog) -> None:
    output = tmp_path / "results" / "predictors.json"
    rows = benchmark_predictors(corpus, output=output, predictors=["meta", "ridge"], draws=2)
    assert json.loads(output.read_text()) == rows
    assert {row["setting"] for row in rows} == {"one", "two", "three", "kept"}
    assert {row["setting"] for row in rows if row["held_out"]} == {"kept"}
    assert (output.parent / "figures" / "predictors.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((output.parent / "predictors-summary.json").read_text())
    assert summary["corpus_digest"] == Corpus.load(corpus).digest
    assert 0 < summary["seconds_per_100k"] < 30
    best = {
        row["predictor"]: row["kendall"]
        for row in average_rows(rows, signal=None)
        if row["records"] == 0 and not row["held_out"]
    }
    assert best["meta"] > 0.3 > best["ridge"] == 0.0

    partial = output.with_suffix(".partial.jsonl")
    lines = partial.read_text().splitlines()
    partial.write_text("\n".join([*lines[:3], lines[3][:40]]))  # torn in the fourth
    more = benchmark_predictors(corpus, output=output, predictors=["meta", "ridge"], draws=2)
    assert more == rows
    assert "torn line" in caplog.text
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

        hold_contest({"one": train}, evidence, judge=judge, siblings=siblings)
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


def test_documents_are_filled_from_the_rows(corpus: Path, tmp_path: Path) -> None:
    output, page = tmp_path / "predictors.json", tmp_path / "page.md"
    benchmark_predictors(corpus, output=output, predictors=["ridge"], draws=1)
    names = ("predictors", "predictors-settings", "predictors-figure")
    page.write_text("\n".join(f"<!-- generated:{name} -->\n<!-- /generated:{name} -->" for name in names))
    assert "predictors" in fill_contest(output, file=page)
    text = page.read_text()
    assert "| ridge | " in text
    assert "figures/predictors.png" in text
    assert fill_contest(output, file=page) == []
    output.write_text("{}")
    with pytest.raises(InputError, match="rankadaptor benchmark"):
        fill_contest(output, file=page)


def test_aims_are_held_against_the_rows() -> None:
    row = {
        "predictor": "meta", "setting": "one", "held_out": True, "records": 0, "kendall": 0.5, "ceiling": 0.6,
        "kendall_ratio": 0.83, "spearman": 0.6, "regret1": 0.0, "regret5": 0.0, "coverage50": 0.5,
        "coverage90": 0.9, "predicted_spread": 0.001, "noise": 0.002, "signal": True,
    }  # fmt: skip
    rows = [
        row,
        {**row, "records": 16, "kendall_ratio": 0.84, "coverage90": 0.97},
        {**row, "predictor": "distance", "kendall_ratio": 0.80},
        {**row, "predictor": "ridge", "kendall_ratio": 0.10},
        {**row, "predictor": "ensemble", "kendall_ratio": 0.85},
        {**row, "setting": "two", "signal": False},
    ]
    text = render_aims(rows)
    assert "| held out | share of the ceiling after 0 records | 0.83 | 0.6 | yes |" in text
    assert "| held out | share of the ceiling after 16 records | 0.84 | 0.85 | no |" in text
    assert "(`distance`) after 0 records | +0.03 | 0.05 | no |" in text
    assert "0.90 to 0.97 | 0.85 to 0.95 | no |" in text
    assert render_silent(rows).splitlines()[-1] == "| two | 0.50 |"
    assert render_silent(rows[:1]) == "Every decided setting has signal."


def test_what_the_corpus_is_worth_is_said_and_drawn(corpus: Path, tmp_path: Path) -> None:
    output, page = tmp_path / "predictors.json", tmp_path / "page.md"
    rows = benchmark_predictors(corpus, output=output, predictors=["meta", "gaussian_process"], draws=1)
    page.write_text("<!-- generated:predictors-start -->\n<!-- /generated:predictors-start -->")
    assert fill_contest(output, file=page) == ["predictors-start"]
    assert (tmp_path / "figures" / "predictors-start.png").read_bytes().startswith(b"\x89PNG")
    assert "figures/predictors-start.png" in page.read_text()
    flat = [{**row, "signal": True, "kendall_ratio": 0.5} for row in rows]
    assert "reaches 0.50" in write_start(flat)
    assert "needs 0 short runs" in write_start(flat)
    behind = [{**row, "kendall_ratio": 0.6 if row["predictor"] == "meta" else 0.5} for row in flat]
    assert f"after {max(row['records'] for row in rows)} short runs" in write_start(behind)


def test_scores_of_the_corpus_compete(corpus: Path, tmp_path: Path) -> None:
    loaded = Corpus.load(corpus)
    assert loaded.scores("one") == {}
    twin = {"model": {"name": "two"}, "pruning": {}, "data": {"rows": "others"}, "recipe": {}}
    loaded.add_setting(Setting(name="twin", space=loaded.space("one").to_json(), **twin))  # of the same space
    loaded.extend([dataclasses.replace(record, setting="twin") for record in loaded.records("one")])
    for name in ("one", "kept", "twin"):
        table = _tabulate(loaded.space(name))
        if name == "twin":
            table = dataclasses.replace(
                table, worths=tuple(tuple(-worth for worth in row) for row in table.worths)
            )
        (corpus / "scores").mkdir(exist_ok=True)
        (corpus / "scores" / f"{name}.jsonl").write_text(json.dumps(table.to_json()) + "\n")
    assert Corpus.load(corpus).scores("one")["distance"].worths == _tabulate(loaded.space("one")).worths
    rows = benchmark_predictors(
        corpus, output=tmp_path / "p.json", predictors=["distance", "score_distance"], draws=1
    )
    by_name = {
        name: [{**row, "predictor": ""} for row in rows if row["predictor"] == name]
        for name in ("distance", "score_distance")
    }
    assert {row["setting"] for row in by_name["score_distance"]} == {"one", "kept", "twin"}
    (mirrored,) = {
        row["kendall"] for row in by_name["score_distance"] if (row["setting"], row["records"]) == ("twin", 0)
    }
    (straight,) = {
        row["kendall"] for row in by_name["score_distance"] if (row["setting"], row["records"]) == ("one", 0)
    }
    assert mirrored == pytest.approx(-straight)
    by_name["score_distance"] = [row for row in by_name["score_distance"] if row["setting"] != "twin"]
    assert by_name["score_distance"] == [
        row for row in by_name["distance"] if row["setting"] in ("one", "kept")
    ]
    (corpus / "scores" / "two.jsonl").write_text((corpus / "scores" / "one.jsonl").read_text())
    with pytest.raises(CorpusError, match=r"two.jsonl, line 1: these scores belong to space"):
        benchmark_predictors(corpus, output=tmp_path / "q.json", predictors=["distance"], draws=1)
