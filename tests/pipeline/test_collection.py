"""A collection fills a corpus, continues, and its records can be measured again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.config import build_run
from rankadaptor.corpus import Corpus
from rankadaptor.pipeline import collect_records, repeat_records


@pytest.fixture
def pico_collection(pico_run: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A collection with every part; a tuned rate, so that there is a curve of rates."""
    pico_run["search"]["steps"] = 2
    pico_run["recipe"]["tune"] = {"learning_rates": [1e-3, 1e-2]}
    pico_run["collect"] = {
        "corpus": str(tmp_path / "corpus"),
        "allocations": 4,
        "repeat": {"allocations": 2, "seeds": 3, "best": 1},
        "lengths": {"steps": [3], "allocations": 2},
        "curve": [1, 2, 4],
        "held_out": True,
    }
    return pico_run


def test_a_collection_measures_what_its_run_asks_for(pico_collection: dict[str, Any], tmp_path: Path) -> None:
    collect_records(build_run(pico_collection), command="rankadaptor collect pico.yaml")
    corpus = Corpus.load(tmp_path / "corpus")
    table = corpus.table()
    assert (table["status"] == "ok").all()
    first = table[(table["seed"] == 0) & (table["steps"] == 2)]
    assert first["values"].nunique() == len(first) == 5  # four and uniform
    again = table[(table["seed"] != 0)]
    best = first.sort_values("gain", ascending=False)["values"].iloc[:2]
    best = next(ranks for ranks in best if ranks != corpus.space("pico").reference().values)
    assert best in set(again["values"])
    assert set(again.groupby("seed").size()) <= {
        3,
        4,
    }  # two, uniform, and the best
    assert set(again["values"]) <= set(first["values"])
    assert len(table[table["steps"] == 3]) == 3
    assert set(table["steps"]) == {1, 2, 3, 4}
    uniform = corpus.space("pico").reference().values
    for (_, _), group in table.groupby(["seed", "steps"]):
        paired = group[group["values"] == uniform]
        assert len(paired) == 1
        assert (group["loss_reference"] == paired["loss"].item()).all()

    setting = corpus.setting("pico")
    assert setting.held_out
    assert setting.command == "rankadaptor collect pico.yaml"
    study = json.loads((tmp_path / "corpus" / "studies" / "pico.json").read_text())
    assert len({entry["learning_rate"] for entry in study["learning_rates"]}) >= 2
    assert [point["steps"] for point in study["curve"]] == [1, 2, 4]

    pico_collection["collect"] |= {"lengths": None, "curve": []}
    collect_records(build_run(pico_collection))
    assert json.loads((tmp_path / "corpus" / "studies" / "pico.json").read_text()) == study  # all is kept


def test_a_collection_continues_and_its_records_repeat(
    pico_collection: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pico_collection["collect"] |= {"lengths": None, "curve": []}
    pico_collection["collect"]["repeat"]["best"] = 0
    first = collect_records(build_run(pico_collection))
    before = Corpus.load(tmp_path / "corpus").table()
    pico_collection["collect"]["repeat"]["seeds"] = 4
    assert collect_records(build_run(pico_collection)) == first + 3
    after = Corpus.load(tmp_path / "corpus").table()
    assert after["loss"].head(first).tolist() == before["loss"].tolist()

    repeated = repeat_records(build_run(pico_collection), 3)
    assert len(repeated) == 3
    assert all(one.agrees and one.difference == 0.0 for one in repeated)
