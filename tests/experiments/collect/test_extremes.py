"""The ends of a setting's order are recovered, scored once, and kept in its study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.collect.__main__ import measure_studies
from experiments.collect.extremes import choose_extremes
from experiments.collect.studies import ExtremesSection, RecipeSection, SettingStudies, load_studies
from rankadaptor.components.adapter import RankSpace
from rankadaptor.config import build_run
from rankadaptor.corpus import Corpus, Record
from rankadaptor.errors import ConfigError, InputError, TrainingError
from rankadaptor.pipeline import collect_records, finals
from rankadaptor.recovery import final
from tests.space.shapes import build_linears

ASKED = SettingStudies(benchmarks=ExtremesSection(extremes=1, names=("arc_easy",), limit=4, steps=3))


@pytest.fixture
def pico_collection(pico_run: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Five allocations of one seed, of which two are scored on four questions."""
    pico_run["search"]["steps"] = 2
    pico_run["collect"] = {
        "corpus": str(tmp_path / "corpus"),
        "allocations": 5,
    }
    return pico_run


def test_the_best_and_the_worst_are_scored_beside_uniform(
    pico_collection: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="rankadaptor collect"):
        measure_studies(build_run(pico_collection), ASKED)
    collect_records(build_run(pico_collection))
    measure_studies(build_run(pico_collection), ASKED)
    corpus = Corpus.load(tmp_path / "corpus")
    models = corpus.studies("pico").benchmarks
    assert [model.role for model in models] == ["uniform", "best", "worst"]
    table = corpus.table().sort_values("gain")
    uniform = corpus.space("pico").reference().values
    ordered = [ranks for ranks in table["values"] if ranks != uniform]
    assert [model.values for model in models] == [uniform, ordered[-1], ordered[0]]
    assert {(model.seed, model.steps) for model in models} == {(1000, 3)}
    assert len({model.loss for model in models}) == 3
    for model in models:
        score = model.scores["arc_easy"]
        assert 0 <= score.value <= 1
        assert (score.difference is None) == (model.role == "uniform")

    written = (tmp_path / "corpus" / "studies" / "pico.json").read_text()
    monkeypatch.setattr(final, "fine_tune", None)  # a second collection recovers and scores nothing again
    monkeypatch.setattr(finals, "evaluate", None)
    measure_studies(build_run(pico_collection), ASKED)
    assert json.loads((tmp_path / "corpus" / "studies" / "pico.json").read_text()) == json.loads(written)
    monkeypatch.undo()
    monkeypatch.setattr(final, "fine_tune", None)
    more = SettingStudies(benchmarks=ASKED.benchmarks.model_copy(update={"limit": 6}))
    measure_studies(build_run(pico_collection), more)  # asked anew, of the same models
    again = Corpus.load(tmp_path / "corpus").studies("pico").benchmarks
    assert [model.loss for model in again] == [model.loss for model in models]
    assert again[0].scores["arc_easy"].items == 6


def test_an_extreme_that_diverges_costs_no_study(
    pico_collection: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: Any, **__: Any) -> None:
        raise TrainingError("loss is nan", step=1)

    monkeypatch.setattr(final, "fine_tune", diverge)
    pico_collection["collect"]["curve"] = [1, 3]
    collect_records(build_run(pico_collection))
    recipe = RecipeSection(exponents=(0.0, 1.0), allocations=1, seeds=1)
    with pytest.raises(TrainingError):
        measure_studies(
            build_run(pico_collection), SettingStudies(recipe=recipe, benchmarks=ASKED.benchmarks)
        )
    study = Corpus.load(tmp_path / "corpus").studies("pico")
    assert [point.steps for point in study.curve] == [1, 3]
    assert len(study.exponents) == 2 * 2  # what was measured before stays
    assert not study.benchmarks


@pytest.mark.parametrize(("asked", "each"), [(1, 1), (2, 2), (9, 2)])
def test_two_ends_share_no_allocation(asked: int, each: int) -> None:
    space = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="linear")
    config = build_run({"search": {"steps": 8}})
    drawn = [allocation.values for allocation in space.sample(5, seed=0)]
    gains = [0.3, 0.1, None, 0.2, -0.4]  # the third failed
    measured = [record(values, gain, seed=0, steps=8) for values, gain in zip(drawn, gains, strict=True)] + [
        record(drawn[1], 9.0, seed=1, steps=8),
        record(drawn[1], 9.0, seed=0, steps=16),
    ]
    roles = choose_extremes(config, space, measured, count=asked)
    assert list(roles) == [
        space.reference().values,
        *[drawn[0], drawn[3]][:each],
        *[drawn[1], drawn[4]][-each:],
    ]
    assert list(roles.values()) == ["uniform", *["best"] * each, *["worst"] * each]


def record(values: tuple[int, ...], gain: float | None, *, seed: int, steps: int) -> Record:
    return Record.of_fine_tune(
        setting="one", values=values, seed=seed, steps=steps, fidelity=1.0, loss_reference=2.0,
        parameters=1, loss=None if gain is None else 2.0 - gain, tokens=1, seconds=1.0,
        status="ok" if gain is not None else "failed", error=None if gain is not None else "diverged",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "key", "what"),
    [
        ("one: {benchmarks: {names: [piqua]}}", "one.benchmarks.names", "Did you mean piqa"),
        ("one: {benchmarks: {names: [piqa, piqa]}}", "one.benchmarks.names", "once"),
        ("one: {recipe: {exponents: [2.0]}}", "one.recipe.exponents", "between 0 and 1"),
        ("one: {recipe: {learning_rates: [0.0]}}", "one.recipe.learning_rates", "above 0"),
        ("one: {recipes: {}}", "one.recipes", "did you mean recipe"),
        ("two: {}", "no studies of setting 'one'", "two"),
    ],
)
def test_faults_of_the_file_are_named(tmp_path: Path, given: str, key: str, what: str) -> None:
    path = tmp_path / "studies.yaml"
    path.write_text(given)
    with pytest.raises(ConfigError) as caught:
        load_studies("one", path)
    assert caught.value.faults[0].startswith(key)
    assert what in caught.value.faults[0]
