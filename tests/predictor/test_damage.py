"""Meta-training of the model of damage on spaces whose truth is known."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.features.slot_features import NAMES, TOKENWISE, SlotFeatures
from rankadaptor.predictor.damage.features import DamageFeatures
from rankadaptor.predictor.damage.option_map import OptionMap, make_monotone
from rankadaptor.predictor.damage.shipped import SHIPPED, load_trained_damage, save_trained_damage
from rankadaptor.predictor.damage.trained import Evidence, TrainedDamage, train_damage
from rankadaptor.predictor.quality import compute_kendall
from rankadaptor.space import Allocation, Space
from tests.space.joint import JointOracle, make_joint_oracle, make_joint_space

BIAS = 2.0
"""What the features of the tests see too much of, in the MLPs: to be learned from other settings."""


def make_features(space: Space, oracle: JointOracle, *, seed: int) -> SlotFeatures:
    """Features that see each option's damage with an error and a bias."""
    generator = np.random.default_rng(seed)
    shape = (space.n_slots, space.tables.n_options)
    values = np.zeros((*shape, len(NAMES)), dtype=np.float32)
    bias = np.array([BIAS if slot.kind == "mlp" else 1.0 for slot in space.slots])
    seen = oracle.damages * bias[:, None] * np.exp(0.1 * generator.standard_normal(shape))
    seen[np.arange(space.n_slots), list(space.origin)] = 0.0
    values[:, :, :5] = seen[:, :, None]
    options = tuple(slot.options for slot in space.slots)
    return SlotFeatures(options, values, np.zeros((*shape, 2), dtype=np.float32), tokens=100)


def sweep(space: Space) -> list[Allocation]:
    planned = []
    for index in space.tables.searchable.tolist():
        for option in range(len(space.slots[index].options)):
            if option != space.origin[index]:
                choices = list(space.origin)
                choices[index] = option
                planned.append(Allocation(tuple(choices), space))
    return planned


def make_evidence(seed: int) -> tuple[Evidence, JointOracle]:
    space = make_joint_space(blocks=6, size=0.6)
    oracle = make_joint_oracle(space, seed=seed)
    records = oracle.measure([*sweep(space), *space.sample(60, seed=seed)])
    return Evidence(space, make_features(space, oracle, seed=seed), records), oracle


@pytest.fixture(scope="module")
def trained() -> TrainedDamage:
    return train_damage([make_evidence(seed)[0] for seed in range(4)])


@pytest.fixture(scope="module")
def fresh() -> tuple[Evidence, JointOracle]:
    return make_evidence(11)


def test_what_other_settings_taught_helps_before_the_first_record(trained, fresh) -> None:
    evidence, oracle = fresh
    space = evidence.space
    choices = space.sample_choices(200, 5)
    truth = -oracle.true_kl(choices)
    untrained = OptionMap().read_values(space, evidence.features).sum_values(space, choices)
    predicted = trained.start(space, evidence.features).predict(space, choices)
    assert compute_kendall(predicted.mean, truth) > compute_kendall(-untrained, truth) + 0.02
    assert compute_kendall(predicted.mean, truth) > 0.8


@pytest.mark.parametrize("count", [0, 40])
def test_intervals_cover_before_and_after_records(trained, count) -> None:
    covered = []
    for seed in range(11, 17):
        evidence, oracle = make_evidence(seed)
        space = evidence.space
        choices = space.sample_choices(100, 6)
        truth = np.log(np.maximum(oracle.true_kl(choices), 1e-9))
        predictor = trained.start(space, evidence.features)
        if count:
            predictor = predictor.update(space, oracle.measure(space.sample(count, seed=8)))
        mean, std = predictor.predict_logs(space, choices)
        covered.append((np.abs(truth - mean) < 1.645 * std).mean())
    assert 0.75 < np.mean(covered) <= 1.0


def test_records_narrow_and_improve(trained, fresh) -> None:
    evidence, oracle = fresh
    space = evidence.space
    choices = space.sample_choices(200, 7)
    truth = -oracle.true_kl(choices)
    before = trained.start(space, evidence.features)
    after = before.update(space, oracle.measure(space.sample(64, seed=9)))
    figures = [each.predict(space, choices) for each in (before, after)]
    assert compute_kendall(figures[1].mean, truth) > compute_kendall(figures[0].mean, truth)
    assert figures[1].std.mean() < figures[0].std.mean()


def test_a_trained_model_is_json(trained, fresh) -> None:
    evidence, _ = fresh
    again = TrainedDamage.from_json(json.loads(json.dumps(trained.to_json())))
    choices = evidence.space.sample_choices(20, 1)
    first, second = (
        each.start(evidence.space, evidence.features).predict(evidence.space, choices)
        for each in (trained, again)
    )
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.std, second.std)
    with pytest.raises(InputError, match="schema 7"):
        TrainedDamage.from_json({**trained.to_json(), "schema": 7})
    with pytest.raises(InputError, match="no trained model"):
        TrainedDamage.from_json({})
    with pytest.raises(InputError, match="no settings"):
        train_damage([])


def test_the_shipped_model_loads_and_predicts(fresh, tmp_path) -> None:
    evidence, _ = fresh
    shipped = load_trained_damage()
    choices = evidence.space.sample_choices(20, 1)
    assert np.isfinite(
        shipped.start(evidence.space, evidence.features).predict(evidence.space, choices).mean
    ).all()
    assert shipped.card["corpus"] in SHIPPED.with_suffix(".md").read_text(encoding="utf-8")
    save_trained_damage(shipped, tmp_path / "own.json")
    assert load_trained_damage(tmp_path / "own.json") == shipped
    with pytest.raises(CheckpointError, match=r"none\.json: no trained model of damage"):
        load_trained_damage(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no JSON object"):
        load_trained_damage(tmp_path / "list.json")


def test_slot_values_are_monotone_in_widths_of_one_type() -> None:
    coordinates = np.array([[-1.0, 0.0], [-0.5, -1.0], [-0.5, 0.0], [0.0, -1.0], [0.0, 0.0]])
    values = np.array([0.5, 0.1, 0.7, 0.3, 0.0])
    monotone = make_monotone(values, coordinates)
    assert monotone[0] >= monotone[2] >= monotone[4] == 0.0
    assert monotone[1] >= monotone[3]
    np.testing.assert_allclose(make_monotone(monotone, coordinates), monotone)


def test_a_type_of_fewer_bits_may_lose_less() -> None:
    """Weights of SmolLM2 lie on the grid of Q4_1, so that Q5_0 harms them and Q4_1 does not."""
    five, four = [-0.6, 0.04], [-0.8, 0.07]
    coordinates = np.array([[-0.5, *four], [-0.5, *five], [0.0, *four], [0.0, *five], [0.0, 0.0, 0.0]])
    values = np.array([0.20, 0.21, 1e-6, 0.01, 0.0])
    np.testing.assert_array_equal(make_monotone(values, coordinates), values)


def test_features_of_another_space_are_refused(trained, fresh) -> None:
    evidence, _ = fresh
    with pytest.raises(InputError, match="belong to other options"):
        trained.start(make_joint_space(blocks=5), evidence.features)
    with pytest.raises(InputError, match="do not belong to"):
        dataclasses.replace(evidence.features, values=evidence.features.values[:-1])
    bad = evidence.features.values.copy()
    bad[0, 0, NAMES.index(TOKENWISE)] = np.nan
    with pytest.raises(InputError, match="not finite"):
        dataclasses.replace(evidence.features, values=bad)


def test_shared_features_have_names(fresh) -> None:
    evidence, _ = fresh
    values = OptionMap().read_values(evidence.space, evidence.features)
    features = DamageFeatures.of(evidence.space, values)
    log, shared, _ = features.describe(evidence.space.sample_choices(5, 0), centre=0.0)
    assert shared.shape == (5, len(features.names))
    np.testing.assert_allclose(shared[:, features.names.index("slope")], log, rtol=1e-5)
    kinds = [place for place, name in enumerate(features.names) if name.startswith("kind:")]
    np.testing.assert_allclose(shared[:, kinds].sum(axis=1), 1.0, rtol=1e-5)
