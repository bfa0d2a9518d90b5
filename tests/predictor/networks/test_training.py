from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.corpus import Corpus, Setting
from rankadaptor.errors import CheckpointError, InputError, TrainingError
from rankadaptor.files import read_json, write_json
from rankadaptor.predictor import MetaNetwork, MetaPredictor, Perceptron, make_predictor, train_network
from rankadaptor.predictor.networks.perceptron_layers import PerceptronEnsemble
from rankadaptor.predictor.quality import compute_kendall
from tests.predictor.oracle import make_oracle, make_space, measure_sample

SHARED = 7


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return make_space(blocks=3)


@pytest.fixture(scope="module")
def settings(space: RankSpace) -> list:
    return [
        (space, measure_sample(make_oracle(space, seed=100 + s, shared=SHARED), 24, seed=s)) for s in range(4)
    ]


def make_network(seed: int = 0) -> PerceptronEnsemble:
    return PerceptronEnsemble(members=3, width=32, hidden=16, seed=seed)


@pytest.fixture(scope="module")
def trained(settings: list) -> MetaNetwork:
    return train_network(settings, epochs=60, learning_rate=3e-3, network=make_network())


def test_meta_trained_beats_scratch_on_a_setting_it_never_saw(trained: MetaNetwork, space: RankSpace) -> None:
    choices = space.sample_choices(200, 99)
    gaps, blind = [], []
    for seed in range(6):
        oracle = make_oracle(space, seed=500 + seed, shared=SHARED)
        truth, records = oracle.true_gains(choices), measure_sample(oracle, 4, seed=seed)
        taught = compute_kendall(trained.update(space, records).predict(space, choices).mean, truth)
        scratch = compute_kendall(
            Perceptron(width=32).update(space, records).predict(space, choices).mean, truth
        )
        gaps.append(taught - scratch)
        blind.append(compute_kendall(trained.predict(space, choices).mean, truth))
    assert np.mean(gaps) > 0.2
    assert np.mean(blind) > 0.4  # even before the first record


@pytest.mark.parametrize("rate", [1e3, 1e8, 1e30])
def test_an_update_that_diverges_leaves_the_network_as_it_was(
    trained: MetaNetwork, space: RankSpace, rate: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights may stay finite where what they say of unseen allocations does not."""
    records = measure_sample(make_oracle(space, seed=900, shared=SHARED), 4)
    choices = space.sample_choices(200, 99)
    fast = dataclasses.replace(trained, rate=rate).update(space, records)
    prediction = fast.predict(space, choices)
    assert "update diverged" in caplog.text
    assert np.isfinite(prediction.mean).all()
    assert compute_kendall(prediction.mean, trained.predict(space, choices).mean) > 0.99


def test_a_setting_unlike_the_corpus_is_learned_online(trained: MetaNetwork, space: RankSpace) -> None:
    choices = space.sample_choices(200, 99)
    before, after = [], []
    for seed in range(4):
        oracle = make_oracle(space, seed=900 + seed, shared=SHARED + 1, noise=0.2)
        truth = oracle.true_gains(choices)
        learned = trained.update(space, measure_sample(oracle, 30, seed=seed))
        before.append(compute_kendall(trained.predict(space, choices).mean, truth))
        after.append(compute_kendall(learned.predict(space, choices).mean, truth))
    assert np.mean(after) > np.mean(before) + 0.1


def test_training_repeats_bit_for_bit_and_depends_on_the_seed(settings: list, space: RankSpace) -> None:
    choices = space.sample_choices(5, 1)
    first, second, other = (
        train_network(settings, epochs=2, seed=seed, network=make_network()).predict(space, choices).mean
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize("algorithm", ["maml", "first_order", "meta_sgd", "anil"])
def test_saved_and_loaded_predicts_and_learns_the_same(
    algorithm: str, settings: list, space: RankSpace, tmp_path: Path
) -> None:
    predictor = train_network(settings, epochs=3, algorithm=algorithm, network=make_network())
    predictor.save_pretrained(tmp_path / "predictor")
    loaded = MetaPredictor.from_pretrained(tmp_path / "predictor")
    records = measure_sample(make_oracle(space, seed=9), 6)
    choices = space.sample_choices(30, 1)
    for one, two in ((predictor, loaded), (predictor.update(space, records), loaded.update(space, records))):
        np.testing.assert_array_equal(one.predict(space, choices).mean, two.predict(space, choices).mean)
        np.testing.assert_array_equal(one.predict(space, choices).std, two.predict(space, choices).std)
    assert loaded.card["corpus_digest"] == predictor.card["corpus_digest"]
    assert sorted(path.name for path in (tmp_path / "predictor").iterdir()) == [
        "predictor.json",
        "predictor.safetensors",
    ]


def test_broken_folders_say_what_is_wrong(trained: MetaNetwork, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"predictor\.json and predictor\.safetensors missing.*meta-train"
    ):
        MetaPredictor.from_pretrained(tmp_path)
    trained.save_pretrained(tmp_path)
    weights = (tmp_path / "predictor.safetensors").read_bytes()
    (tmp_path / "predictor.safetensors").write_bytes(weights[:-100])
    with pytest.raises(CheckpointError, match="cut short or replaced"):
        MetaPredictor.from_pretrained(tmp_path)
    (tmp_path / "predictor.safetensors").write_bytes(weights)
    description = read_json(tmp_path / "predictor.json")
    write_json(tmp_path / "predictor.json", {**description, "schema": 99})
    with pytest.raises(CheckpointError, match="schema 99, this version reads schemas 1 and 2"):
        MetaPredictor.from_pretrained(tmp_path)
    write_json(tmp_path / "predictor.json", {**description, "network": {"members": 1, "width": 2}})
    with pytest.raises(CheckpointError, match="cannot be rebuilt"):
        MetaPredictor.from_pretrained(tmp_path)
    (tmp_path / "predictor.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        MetaPredictor.from_pretrained(tmp_path)


def test_held_out_settings_are_never_trained_on(space: RankSpace, tmp_path: Path) -> None:
    def fill(folder: Path, held_out_seed: int) -> Corpus:
        corpus = Corpus.create(folder)
        for name, held_out in (("one", False), ("two", False), ("kept", True)):
            parts = {"model": {"name": name}, "pruning": {}, "data": {}, "recipe": {}}
            corpus.add_setting(Setting(name=name, space=space.to_json(), held_out=held_out, **parts))
            oracle = make_oracle(space, seed=held_out_seed if held_out else len(name))
            for record in measure_sample(oracle, 10):
                corpus.append(type(record)(**{**record.__dict__, "setting": name}))
        return corpus

    choices = space.sample_choices(5, 1)
    predictors = [
        train_network(fill(tmp_path / str(seed), seed), epochs=2, network=make_network()) for seed in (1, 2)
    ]
    one, two = (predictor.predict(space, choices).mean for predictor in predictors)
    np.testing.assert_array_equal(one, two)
    assert set(predictors[0].card["settings"]) == {"one", "two"}
    assert predictors[0].card["not_trained_on"] == ["kept"]


def test_faults_of_training_are_named(space: RankSpace, settings: list) -> None:
    with pytest.raises(InputError, match=r"allowed are maml, first_order, meta_sgd"):
        train_network(settings, algorithm="reptile")
    with pytest.raises(InputError, match="rankadaptor collect"):
        train_network([(space, settings[0][1][:2])], network=make_network())
    with pytest.raises(TrainingError, match="smaller inner_learning_rate"):
        train_network(settings, inner_learning_rate=1e4, epochs=3, network=make_network())


def test_predictors_are_made_by_name(trained: MetaNetwork, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    made = make_predictor("meta", pretrained=tmp_path, seed=4)
    assert made.pretrained
    assert made.name == "meta"
    assert not make_predictor("ridge").pretrained
    with pytest.raises(InputError, match="allowed are meta, ensemble, perceptron"):
        make_predictor("forest")
    with pytest.raises(InputError, match="needs the folder"):
        make_predictor("meta")
    with pytest.raises(InputError, match="the others take none"):
        make_predictor("ridge", pretrained=tmp_path)
