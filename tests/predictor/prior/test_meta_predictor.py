from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import read_json, write_json
from rankadaptor.predictor import MetaPredictor, make_predictor, meta_train, storage
from rankadaptor.predictor.prior.layout import list_families
from rankadaptor.predictor.rank_agreement import compute_kendall
from tests.predictor.oracle import make_oracle, make_space, measure_sample, with_losses

SHARED = 7


@pytest.fixture(scope="module")
def trained() -> MetaPredictor:
    """Trained on spaces of other depth and granularity than any it is asked about."""
    spaces = [
        make_space(blocks=3), make_space(blocks=4), make_space(blocks=5, slots="half_block"),
        make_space(blocks=6, uniform=2),
    ]  # fmt: skip
    settings = [
        (space, measure_sample(make_oracle(space, seed=100 + index, shared=SHARED), 30, seed=index))
        for index, space in enumerate(spaces)
    ]
    predictor = meta_train(settings)
    assert isinstance(predictor, MetaPredictor)
    return predictor


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return make_space(blocks=7)


def test_what_no_limit_counts_keeps_its_prior_where_a_corpus_has_only_ranks(trained: MetaPredictor) -> None:
    variances = dict(zip(list_families(), trained.hierarchy.own.tolist(), strict=True))
    uncounted = {name: value for name, value in variances.items() if name.startswith("uncounted.")}
    assert set(uncounted) == {"uncounted.log", "uncounted.bend"}
    assert list(uncounted.values()) == pytest.approx([0.5, 0.5], rel=1e-3)


def test_carries_over_to_models_of_another_depth(trained: MetaPredictor, space: RankSpace) -> None:
    choices = space.sample_choices(200, 99)
    blind, taught, scratch = [], [], []
    for seed in range(5):
        oracle = make_oracle(space, seed=500 + seed, shared=SHARED)
        truth, records = oracle.true_gains(choices), measure_sample(oracle, 4, seed=seed)
        blind.append(compute_kendall(trained.predict(space, choices).mean, truth))
        taught.append(compute_kendall(trained.update(space, records).predict(space, choices).mean, truth))
        process = make_predictor("gaussian_process").update(space, records)
        scratch.append(compute_kendall(process.predict(space, choices).mean, truth))
    assert np.mean(blind) > 0.5
    assert np.mean(taught) > max(np.mean(scratch) + 0.1, np.mean(blind) - 0.02)


def test_intervals_hold_what_they_say(trained: MetaPredictor, space: RankSpace) -> None:
    choices, inside = space.sample_choices(200, 99), []
    for seed in range(6):
        oracle = make_oracle(space, seed=600 + seed, shared=SHARED)
        prediction = trained.update(space, measure_sample(oracle, 12, seed=seed)).predict(space, choices)
        inside.append(np.mean(np.abs(oracle.true_gains(choices) - prediction.mean) < 1.645 * prediction.std))
    assert 0.75 < np.mean(inside) <= 1.0


def test_a_setting_unlike_the_corpus_is_learned_online(trained: MetaPredictor, space: RankSpace) -> None:
    choices = space.sample_choices(200, 99)
    before, after = [], []
    for seed in range(3):
        oracle = make_oracle(space, seed=900 + seed, shared=SHARED + 1, noise=0.2)
        truth = oracle.true_gains(choices)
        learned = trained.update(space, measure_sample(oracle, 30, seed=seed))
        before.append(compute_kendall(trained.predict(space, choices).mean, truth))
        after.append(compute_kendall(learned.predict(space, choices).mean, truth))
    assert np.mean(after) > np.mean(before) + 0.1


def test_luck_of_uniform_does_not_pass_for_a_gain(trained: MetaPredictor, space: RankSpace) -> None:
    """All gains of a seed are paired with one run of uniform; if that was unlucky, all look better."""
    oracle = make_oracle(space, seed=510, shared=SHARED)
    records = measure_sample(oracle, 16)
    lucky = [with_losses(r, reference=(r.loss_reference or 0.0) + 0.002) for r in records]
    choices = space.sample_choices(100, 3)
    plain = trained.update(space, records).predict(space, choices).mean
    moved = trained.update(space, lucky).predict(space, choices).mean
    assert abs(np.mean(moved - plain)) < 0.0015
    assert compute_kendall(plain, moved) > 0.75


def test_a_hundred_thousand_allocations_take_about_a_second(trained: MetaPredictor) -> None:
    wide = make_space(blocks=12)
    seen = trained.update(wide, measure_sample(make_oracle(wide, seed=1), 16))
    choices = wide.sample_choices(20_000, 0)
    started = time.process_time()
    assert len(seen.predict(wide, choices)) == 20_000
    assert time.process_time() - started < 1.5  # a fifth of them; generous, for a busy machine


def test_draws_follow_mean_and_deviation(trained: MetaPredictor, space: RankSpace) -> None:
    asked = space.sample(3, seed=1)
    many = [dataclasses.replace(trained, seed=seed).predict(space, asked) for seed in range(60)]
    draws = np.concatenate([prediction.draws for prediction in many if prediction.draws is not None])
    np.testing.assert_allclose(draws.std(axis=0), many[0].std, rtol=0.15)
    assert (np.abs(draws.mean(axis=0) - many[0].mean) < 0.2 * many[0].std).all()


def test_saved_and_loaded_predicts_and_learns_the_same(
    trained: MetaPredictor, space: RankSpace, tmp_path: Path
) -> None:
    trained.save_pretrained(tmp_path)
    loaded = MetaPredictor.from_pretrained(tmp_path)
    assert isinstance(loaded, MetaPredictor)
    records, choices = measure_sample(make_oracle(space, seed=9), 6), space.sample_choices(30, 1)
    for one, two in ((trained, loaded), (trained.update(space, records), loaded.update(space, records))):
        np.testing.assert_array_equal(one.predict(space, choices).mean, two.predict(space, choices).mean)
        np.testing.assert_array_equal(one.predict(space, choices).std, two.predict(space, choices).std)
    assert loaded.card == trained.card
    description = read_json(tmp_path / "predictor.json")
    write_json(tmp_path / "predictor.json", {**description, "families": ["other"]})
    with pytest.raises(CheckpointError, match="by other features"):
        MetaPredictor.from_pretrained(tmp_path)


def test_unknown_models_are_refused(space: RankSpace) -> None:
    with pytest.raises(InputError, match="hierarchy, slots, perceptron"):
        meta_train([(space, [])], model="forest")
    with pytest.raises(InputError, match="rankadaptor collect"):
        meta_train([(space, [])])


def test_the_trained_predictor_comes_with_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # found from anywhere
    predictor, default = MetaPredictor.from_pretrained(), MetaPredictor.default()
    assert default.card == predictor.card
    np.testing.assert_array_equal(default.hierarchy.covariance, predictor.hierarchy.covariance)
    assert predictor.name == "meta"
    assert predictor.pretrained


def test_a_predictor_stored_with_the_earlier_words_still_loads(
    trained: MetaPredictor, space: RankSpace, tmp_path: Path
) -> None:
    trained.save_pretrained(tmp_path)
    path = tmp_path / "predictor.json"
    description = read_json(path)
    assert {"linear_features", "families"} < set(description)
    description["strengths"] = description.pop("linear_features")
    description["families"] = [name.replace("uncounted.", "free.") for name in description["families"]]
    assert "free.log" in description["families"]
    write_json(path, description)
    read, choices = MetaPredictor.from_pretrained(tmp_path), space.sample_choices(20, 1)
    np.testing.assert_array_equal(read.predict(space, choices).mean, trained.predict(space, choices).mean)
    write_json(path, description | {"strengths": description["strengths"][1:]})
    with pytest.raises(CheckpointError, match="other features"):
        MetaPredictor.from_pretrained(tmp_path)


def test_the_wheel_has_every_file_of_the_trained_predictor() -> None:
    import tomllib

    root = Path(storage.__file__).parents[1]
    settings = tomllib.loads((root.parent / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    packed = {path for glob in settings["package-data"]["rankadaptor"] for path in root.glob(glob)}
    shipped = set(storage.SHIPPED.iterdir())
    damage = {"damage.json", "damage.md"}
    assert {path.name for path in shipped} == {storage.WEIGHTS, storage.DESCRIPTION, "README.md", *damage}
    assert shipped <= packed
    assert not list((root.parent / "meta_data").rglob(storage.WEIGHTS))  # one copy in the repository


def test_a_broken_installation_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Path(shutil.copytree(storage.SHIPPED, tmp_path / "trained"))
    monkeypatch.setattr(storage, "SHIPPED", broken)
    (broken / storage.WEIGHTS).write_bytes(b"cut short")
    with pytest.raises(CheckpointError, match=r"not the weights[\s\S]*install rankadaptor again"):
        MetaPredictor.from_pretrained()
    shutil.rmtree(broken)
    with pytest.raises(CheckpointError, match="no predictor here"):
        MetaPredictor.default()
