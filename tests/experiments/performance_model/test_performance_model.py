"""The benchmark of performance models and the collection behind it, on a space whose truth is known."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from experiments.performance_model import judging
from experiments.performance_model.__main__ import judge_all
from experiments.performance_model.cases import Case, read_cases
from experiments.performance_model.contestants import TRAINED, list_contestants
from experiments.performance_model.page import list_targets, tabulate, write_page
from experiments.performance_model.shipped import train_shipped, write_card
from experiments.slice_corpus.adopted import keep_options
from experiments.slice_corpus.bands import Band, Optimum, read_bands, write_bands
from experiments.slice_corpus.description import Description
from experiments.slice_corpus.optimum import find_optimum
from rankadaptor.corpus import Corpus, Setting
from rankadaptor.errors import CorpusError, InputError
from rankadaptor.predictor.quality import compute_kendall
from rankadaptor.space import Allocation, Space
from rankadaptor.space.moves import trade
from tests.predictor.test_damage import make_features, sweep
from tests.space.joint import JointOracle, make_joint_oracle, make_joint_space

COUNTS = (0, 16)


def make_case(seed: int, *, family: str) -> Case:
    limited = make_joint_space(blocks=5, size=0.6)
    space = dataclasses.replace(limited, limits=())
    oracle = make_joint_oracle(limited, seed=seed)
    random = limited.sample(70, seed=seed)
    near = trade(limited, np.array([random[0].choices]), count=40, seed=seed)
    fresh = set(map(tuple, near.tolist())) - {allocation.choices for allocation in random}
    searched = [Allocation(row, limited) for row in sorted(fresh)]
    groups = [oracle.measure(part) for part in (sweep(space), random, searched)]
    records = tuple(record for group in groups for record in group)
    bounds = np.cumsum([0, *map(len, groups)])
    places = [tuple(range(start, end)) for start, end in itertools.pairwise(bounds)]
    best = min(records[bounds[1] :], key=lambda record: record.kl)
    band = Band(
        "bytes", limited.bounds[0], random=places[1], search=places[2], front=(),
        optimum=Optimum(space.find_choices(best.values), best.kl, (10, 5), 100),
    )  # fmt: skip
    features = make_features(space, oracle, seed=seed)
    return Case(f"case{seed}", family, False, space, features, records, {"middle": band})


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(seed, family="one" if seed < 2 else "two") for seed in range(3)]


@pytest.fixture(scope="module")
def rows(cases) -> list[judging.Row]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "COUNTS", COUNTS)
        return judge_all(cases, names=[TRAINED, "sweep, sum", "bytes", "ridge"])


def test_rows_have_the_fields_of_the_acceptance(rows) -> None:
    fields = {
        "predictor", "setting", "family", "held_out", "band", "region", "records", "kendall", "spearman",
        "regret", "coverage90", "p_null",
    }  # fmt: skip
    assert all(set(row) == fields for row in rows)
    assert {row["held_out"] for row in rows if row["predictor"] == TRAINED} == {"setting", "family"}
    assert {row["held_out"] for row in rows if row["predictor"] == "bytes"} == {"nothing"}
    assert {(row["region"], row["records"]) for row in rows} == {
        (region, count) for region in ("random", "front") for count in COUNTS
    }


def test_what_knows_more_orders_better(rows) -> None:
    def average(name: str, count: int) -> float:
        return float(
            np.mean(
                [
                    row["kendall"]
                    for row in rows
                    if (row["predictor"], row["region"], row["records"]) == (name, "random", count)
                ]
            )
        )

    assert average(TRAINED, 0) > 0.7 > average("bytes", 0)
    assert average("ridge", 16) > average("ridge", 0) == 0.0
    assert all(
        row["p_null"] < 0.05 for row in rows if row["predictor"] == "sweep, sum" and row["region"] == "random"
    )
    assert all(row["regret"] >= -1e-3 for row in rows)


def test_no_record_is_predicted_by_what_learned_from_it(cases, monkeypatch) -> None:
    case = cases[0]
    seen: list[tuple[set[object], set[object]]] = []
    predict = judging._predict

    def spy(case, band, predictor, learned, judged):
        seen.append(({record.values for record in learned}, {record.values for record in judged}))
        return predict(case, band, predictor, learned, judged)

    monkeypatch.setattr(judging, "_predict", spy)
    monkeypatch.setattr(judging, "COUNTS", (16,))
    list(judging.judge_band(case, "middle", list_contestants()["sweep, sum"](case, None), name="sum"))
    assert len(seen) > 2
    assert all(not learned & judged and len(learned) == 16 for learned, judged in seen)


def test_the_page_is_written_from_rows(rows, tmp_path) -> None:
    write_page(rows, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "case0, case1, case2" in text
    table = tabulate(rows, region="random", field="kendall", title="τ", write=str)
    assert [line[0] for line in table.rows] == [TRAINED, TRAINED, "sweep, sum", "bytes", "ridge"]
    assert [line[0] for line in list_targets(rows).rows] == ["random, 0 records"]


def test_cases_are_read_as_they_were_kept(cases, tmp_path) -> None:
    case = cases[0]
    folder = tmp_path / "one"
    corpus = Corpus.create(folder)
    corpus.add_setting(Setting(case.name, {"name": "m"}, {}, {}, {}, case.space.to_json()))
    corpus.extend([dataclasses.replace(record, setting=case.name) for record in case.records])
    case.features.save(folder / "features" / f"{case.name}.safetensors")
    write_bands(folder, case.name, dict(case.bands))
    assert read_bands(folder, case.name) == case.bands
    (found,) = read_cases(tmp_path)
    assert (found.name, found.family, found.bands) == (case.name, "one", case.bands)
    assert [record.values for record in found.records] == [record.values for record in case.records]
    with pytest.raises(CorpusError, match="no settings"):
        read_cases(tmp_path / "one")


@pytest.fixture(scope="module")
def searched() -> tuple[Space, JointOracle]:
    space = make_joint_space(blocks=5, size=0.5)
    return space, make_joint_oracle(space, seed=3)


def test_the_reference_optimum_is_better_than_chance_and_repeats(searched) -> None:
    space, oracle = searched
    start = [allocation.choices for allocation in space.sample(16, seed=0)]

    def find(counts: list[int]):
        def measure(batch, tokens):
            counts.append(len(batch))
            return oracle.measure(batch, tokens=tokens)

        return find_optimum(
            space,
            start=start,
            few=lambda batch: measure(batch, oracle.tokens // 4),
            whole=lambda batch: measure(batch, None),
            evaluations=(600, 60),
            seed=0,
        )

    counts: list[int] = []
    best, kl, ranked = find(counts)
    assert sum(counts) == 660
    assert kl == pytest.approx(float(oracle.true_kl(np.array([best]))[0]))
    assert kl < 0.8 * oracle.true_kl(np.array(start)).min()
    assert ranked[0] == best
    assert len(ranked) == 60
    space.from_choices(best)
    assert find([])[0] == best


def test_a_setting_is_checked_when_it_is_read(tmp_path) -> None:
    path = tmp_path / "setting.yaml"
    path.write_text("name: a\nmodels: b\n")
    with pytest.raises(InputError, match="models"):
        Description.read(path)
    path.write_text(
        "name: a\nmodel: b\nfamily: c\ntext: [d]\nchoices: {}\nbands: {one: 0.5}\nreference: {two: [1, 2]}\n"
    )
    with pytest.raises(InputError, match="bands and reference differ in one, two"):
        Description.read(path)


def test_ridge_on_terms_learns_factors(cases) -> None:
    case = cases[0]
    space, band = case.limit("middle"), case.bands["middle"]
    predictor = list_contestants()["sweep, ridge"](case, None)
    records = case.pick(band.random)
    judged = np.array([space.find_choices(record.values) for record in records[30:]])
    truth = np.array([record.gain for record in records[30:]])
    before = predictor.predict(space, judged).mean
    after = predictor.update(space, records[:30]).predict(space, judged).mean
    assert compute_kendall(after, truth) >= compute_kendall(before, truth) - 0.05
    assert np.abs(after - truth).mean() < np.abs(before - truth).mean()


def test_a_space_of_the_options_that_were_scored_costs_the_same() -> None:
    space = make_joint_space(blocks=3, size=0.6)
    taken = [allocation.choices for allocation in space.sample(4, seed=1)]
    narrow = keep_options(space, taken)
    assert sum(len(slot.options) for slot in narrow.slots) < sum(len(slot.options) for slot in space.slots)
    for row in taken:
        values = space.from_choices(row).values
        assert narrow.from_choices(narrow.find_choices(values)).cost("bytes") == space.from_choices(row).cost(
            "bytes"
        )
    assert narrow.reference().values == space.reference().values


def test_what_is_held_out_does_not_train_the_shipped_model(cases, rows) -> None:
    kept = [*cases[:2], dataclasses.replace(cases[2], held_out=True)]
    trained = train_shipped(kept)
    assert trained.card["names"] == ["case0", "case1"]
    card = write_card(kept, trained, rows)
    assert "held out: case2" in card
    assert trained.card["corpus"] in card
    with pytest.raises(CorpusError, match="held out"):
        train_shipped(kept[2:])
