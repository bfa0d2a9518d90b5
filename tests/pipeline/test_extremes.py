"""The ends of a setting's order are recovered, scored once, and kept in its study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.config import build_run
from rankadaptor.corpus import Corpus
from rankadaptor.pipeline import collect_records, finals


@pytest.fixture
def pico_collection(pico_run: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Five allocations of one seed, of which two are scored on four questions."""
    pico_run["search"]["steps"] = 2
    pico_run["collect"] = {
        "corpus": str(tmp_path / "corpus"),
        "allocations": 5,
        "benchmarks": {"extremes": 1, "names": ["arc_easy"], "limit": 4, "steps": 3},
    }
    return pico_run


def test_the_best_and_the_worst_are_scored_beside_uniform(
    pico_collection: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect_records(build_run(pico_collection))
    corpus = Corpus.load(tmp_path / "corpus")
    models = corpus.studies("pico").benchmarks
    assert [model.role for model in models] == ["uniform", "best", "worst"]
    table = corpus.table().sort_values("gain")
    uniform = corpus.space("pico").uniform().values
    ordered = [ranks for ranks in table["ranks"] if ranks != uniform]
    assert [model.values for model in models] == [uniform, ordered[-1], ordered[0]]
    assert {(model.seed, model.steps) for model in models} == {(1000, 3)}
    assert len({model.loss for model in models}) == 3
    for model in models:
        score = model.scores["arc_easy"]
        assert 0 <= score.value <= 1
        assert (score.difference is None) == (model.role == "uniform")

    written = (tmp_path / "corpus" / "studies" / "pico.json").read_text()
    monkeypatch.setattr(finals, "fine_tune", None)  # a second collection recovers and scores nothing again
    monkeypatch.setattr(finals, "evaluate", None)
    collect_records(build_run(pico_collection))
    assert json.loads((tmp_path / "corpus" / "studies" / "pico.json").read_text()) == json.loads(written)
    monkeypatch.undo()
    pico_collection["collect"]["benchmarks"]["limit"] = 6  # asked anew, of the same models
    monkeypatch.setattr(finals, "fine_tune", None)
    collect_records(build_run(pico_collection))
    again = Corpus.load(tmp_path / "corpus").studies("pico").benchmarks
    assert [model.loss for model in again] == [model.loss for model in models]
    assert again[0].scores["arc_easy"].items == 6


def test_two_ends_share_no_allocation(pico_collection: dict[str, Any], tmp_path: Path) -> None:
    pico_collection["collect"]["benchmarks"] |= {"extremes": 9, "steps": 1, "limit": 1}
    collect_records(build_run(pico_collection))
    models = Corpus.load(tmp_path / "corpus").studies("pico").benchmarks
    assert [model.role for model in models] == ["uniform", *["best"] * 2, *["worst"] * 2]  # of five
    assert len({model.values for model in models}) == 5
