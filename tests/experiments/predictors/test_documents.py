"""What is judged and written of all predictors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.predictors.__main__ import judge_all
from experiments.predictors.aims import render_aims
from experiments.predictors.distance import _tabulate
from experiments.predictors.page import fill_contest, render_silent, write_start
from rankadaptor.corpus import Corpus, Setting
from rankadaptor.errors import CorpusError, InputError
from tests.predictor.contested import make_corpus

FIELDS = {
    "predictor", "setting", "held_out", "records", "kendall", "ceiling", "kendall_ratio", "spearman",
    "regret1", "coverage90", "p_null",
}  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path / "corpus")


def test_documents_are_filled_from_the_rows(corpus: Path, tmp_path: Path) -> None:
    output, page = tmp_path / "predictors.json", tmp_path / "page.md"
    judge_all(corpus, output=output, predictors=["ridge"], draws=1)
    names = ("predictors", "predictors-settings", "predictors-figure")
    page.write_text("\n".join(f"<!-- generated:{name} -->\n<!-- /generated:{name} -->" for name in names))
    assert (tmp_path / "figures" / "predictors.png").read_bytes().startswith(b"\x89PNG")
    assert "predictors" in fill_contest(output, file=page)
    text = page.read_text()
    assert "| ridge | " in text
    assert "figures/predictors.png" in text
    assert fill_contest(output, file=page) == []
    output.write_text("{}")
    with pytest.raises(InputError, match=r"python -m experiments\.predictors"):
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
    rows = judge_all(corpus, output=output, predictors=["meta", "gaussian_process"], draws=1)
    summary = json.loads((tmp_path / "predictors-summary.json").read_text())
    assert 0 < summary["seconds_per_100k"] < 30
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
                table, option_scores=tuple(tuple(-worth for worth in row) for row in table.option_scores)
            )
        (corpus / "scores").mkdir(exist_ok=True)
        (corpus / "scores" / f"{name}.jsonl").write_text(json.dumps(table.to_json()) + "\n")
    assert (
        Corpus.load(corpus).scores("one")["distance"].option_scores
        == _tabulate(loaded.space("one")).option_scores
    )
    rows = judge_all(corpus, output=tmp_path / "p.json", predictors=["distance", "score_distance"], draws=1)
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
        judge_all(corpus, output=tmp_path / "q.json", predictors=["distance"], draws=1)
