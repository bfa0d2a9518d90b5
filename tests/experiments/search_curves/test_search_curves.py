"""The searches that are compared and their curves, on a space whose truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from experiments.performance_model.cases import Case
from experiments.search_curves import methods
from experiments.search_curves.curves import list_rows
from experiments.search_curves.methods import EVOLUTION, METHODS, RADIAL, RANDOM, SWEEP, TRAINED, Task
from experiments.search_curves.page import list_targets, write_page
from experiments.search_curves.radial_basis import RadialBasis
from experiments.search_curves.traces import Trace, read_setting, read_traces, write_traces
from experiments.slice_corpus.bands import Band, Optimum
from rankadaptor.errors import CorpusError
from rankadaptor.predictor.damage.trained import train_damage
from rankadaptor.predictor.quality import compute_kendall
from tests.predictor.test_damage import make_evidence, make_features
from tests.space.joint import make_joint_oracle, make_joint_space

BLOCKS = 4


@pytest.fixture(scope="module")
def task() -> Task:
    space = make_joint_space(blocks=BLOCKS, size=0.5)
    oracle = make_joint_oracle(space, seed=5)
    features = make_features(dataclasses.replace(space, limits=()), oracle, seed=5)
    return Task(space, features, train_damage([make_evidence(0)[0]]), oracle.measure)


@pytest.mark.parametrize("method", METHODS)
def test_every_search_measures_what_it_may_and_finds_something(task, method, monkeypatch) -> None:
    monkeypatch.setattr(methods, "FIRST", 8)
    monkeypatch.setattr(methods, "CANDIDATES", 100)
    seen = []

    def measure(batch):
        found = task.measure(batch)
        seen.extend(found)
        return found

    METHODS[method][0](dataclasses.replace(task, measure=measure), 26, 0)
    legal = [record.kl for record in seen if task.space.contains(record.values)]
    assert len(seen) == 26
    assert len(legal) == (26 if method != SWEEP else 26 - 2 * len(task.space.tables.searchable))
    if method in (TRAINED, RADIAL):
        drawn = [record.kl for record in task.measure(task.space.sample(26, seed=0))]
        assert min(legal) < min(drawn)


def test_radial_basis_functions_pass_through_the_records(task) -> None:
    records = task.measure(task.space.sample(30, seed=2))
    choices = np.array([task.space.find_choices(record.values) for record in records])
    truth = np.array([record.gain for record in records])
    found = RadialBasis().update(task.space, records).predict(task.space, choices)
    np.testing.assert_allclose(found.mean, truth, rtol=1e-3)
    fresh = task.space.sample_choices(100, 9)
    gains = np.array([r.gain for r in task.measure([task.space.from_choices(row) for row in fresh.tolist()])])
    more = RadialBasis().update(task.space, task.measure(task.space.sample(120, seed=3)))
    assert compute_kendall(more.predict(task.space, fresh).mean, gains) > 0.3
    assert not RadialBasis().update(task.space, []).predict(task.space, fresh).mean.any()


def make_trace(method: str, kl: list[float | None], *, seed: int = 0, prepared: int = 0) -> Trace:
    return Trace("one", "middle", method, seed, prepared, tuple(kl), (100,) * len(kl), (0,))


TRACES = [
    make_trace(TRAINED, [0.5, *[0.45] * 6, 0.404, *[0.404] * 52], prepared=1000),
    make_trace(TRAINED, [0.5, *[0.45] * 6, 0.404, *[0.402] * 52], seed=1, prepared=1000),
    make_trace(SWEEP, [*[None] * 8, *[0.41] * 52]),
    make_trace(EVOLUTION, [*[0.8] * 60, *[0.4] * 260]),
    make_trace(RANDOM, [0.9] * 60),
]


def make_case() -> Case:
    space = make_joint_space(blocks=BLOCKS, size=0.5)
    features = make_features(space, make_joint_oracle(space, seed=5), seed=5)
    band = Band("bytes", 1, (), (), (), Optimum((0,), 0.42, (900, 100), 1))
    return Case("one", "f", True, space, features, (), {"middle": band})


def test_regret_is_against_the_least_divergence_of_any_search(tmp_path) -> None:
    write_traces(tmp_path, "one", TRACES)
    assert read_traces(tmp_path) == TRACES == read_setting(tmp_path, "one")
    rows = {(row["method"], row["evaluations"]): row for row in list_rows(TRACES, [make_case()])}
    assert rows[TRAINED, 60]["optimum"] == 0.4
    assert rows[TRAINED, 60]["regret"] == pytest.approx(0.75, abs=0.01)
    assert rows[TRAINED, 60]["runs"] == 2
    assert rows[TRAINED, 60]["tokens"] == 1000 + 60 * 100
    assert rows[TRAINED, 60]["reference_evaluations"] == 1000 + sum(len(trace.kl) for trace in TRACES)
    assert rows[SWEEP, 8]["regret"] is None
    assert rows[SWEEP, 16]["regret"] == pytest.approx(2.5)
    assert (EVOLUTION, 640) not in rows
    assert rows[EVOLUTION, 320]["regret"] == 0.0


def test_the_page_says_whether_the_target_is_met(tmp_path) -> None:
    rows = list_rows(TRACES, [make_case()])
    (line, mean) = list_targets(rows).rows
    assert line == ("one, middle", "0.8", "yes", "100")
    assert mean[2] == "yes"
    write_page(rows, tmp_path / "page.md")
    assert "## one, middle" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_faults_of_records_are_named(tmp_path) -> None:
    with pytest.raises(CorpusError, match="no searches"):
        read_traces(tmp_path)
    (tmp_path / "one.jsonl").write_text('{"setting": "one"}\n')
    with pytest.raises(CorpusError, match=r"one\.jsonl, line 1"):
        read_traces(tmp_path)
