"""The predictor as a registered model: saved without pickle, loaded by plain MLflow, equal predictions."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.model.families import Linear
from rankadaptor.tracking import load_registered_predictor, register_predictor


def make_space(blocks: int) -> RankSpace:
    linears = [Linear(f"layers.{i}.mlp.up_proj", i, "up_proj", 16, 16) for i in range(blocks)]
    return RankSpace.from_linears(linears, like_uniform=8, slots="block", ranks=(0, 4, 8, 12))


SPACE = make_space(3)
VALUES = np.array([[8, 8, 8], [4, 8, 12], [12, 12, 0]])
CHOICES = np.array([SPACE.find_choices(row) for row in VALUES.tolist()])


@pytest.fixture(scope="module")
def predictor():
    from rankadaptor.predictor import MetaNetwork
    from rankadaptor.predictor.networks.perceptron_layers import PerceptronEnsemble

    return MetaNetwork(network=PerceptronEnsemble(members=3, width=4, hidden=8, seed=1), spread=0.01)


@pytest.fixture(scope="module")
def address(predictor, store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictor") / "weights"
    predictor.save_pretrained(folder)
    return register_predictor(folder, target=store, space=SPACE, name="meta")


def test_registered_predictor_predicts_what_the_predictor_does(address, store, predictor):
    model = load_registered_predictor(address, target=store)
    expected = predictor.predict(SPACE, CHOICES)
    answer = model.predict(pd.DataFrame({"values": VALUES.tolist()}))
    assert list(answer.columns) == ["mean", "std"]
    np.testing.assert_array_equal(answer["mean"], expected.mean)
    np.testing.assert_array_equal(answer["std"], expected.std)
    by_slot = model.predict(pd.DataFrame(VALUES, columns=[slot.name for slot in SPACE.slots]))
    as_text = model.predict(pd.DataFrame({"values": [json.dumps(row) for row in VALUES.tolist()]}))
    pd.testing.assert_frame_equal(by_slot, answer)
    pd.testing.assert_frame_equal(as_text, answer)


def test_a_query_may_bring_its_own_space(address, store, predictor):
    smaller = make_space(2)
    model = load_registered_predictor(address, target=store)
    answer = model.predict({"values": [[12, 4]]}, params={"space": json.dumps(smaller.to_json())})
    np.testing.assert_array_equal(
        answer["mean"], predictor.predict(smaller, [smaller.allocation((12, 4))]).mean
    )


def test_plain_mlflow_loads_it(address, store, predictor):
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    try:
        answer = mlflow.pyfunc.load_model(address).predict({"values": VALUES.tolist()})
    finally:
        mlflow.set_tracking_uri(before)
    np.testing.assert_array_equal(answer["mean"], predictor.predict(SPACE, CHOICES).mean)


def test_nothing_is_pickled(address, store):
    files = [path for path in (store / "artifacts").rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in files)
    assert not [path for path in files if path.suffix in (".pkl", ".pt", ".bin", ".joblib")]
    [description] = {path for path in files if path.name == "MLmodel"}
    assert "python_model.pkl" not in description.read_text()


def test_registering_again_adds_a_version(address, predictor, store, tmp_path):
    predictor.save_pretrained(tmp_path / "weights")
    assert address == "models:/meta/1"
    other = register_predictor(tmp_path / "weights", target=store, name="bare")
    assert register_predictor(tmp_path / "weights", target=store, name="bare") == "models:/bare/2"
    model = load_registered_predictor(other, target=store)
    with pytest.raises(InputError, match="without a space"):
        model.predict({"values": [[8, 8, 8]]})


@pytest.mark.parametrize(
    ("table", "match"),
    [({"values": [[8, 8]]}, "3 labels"), ({"block0": [8], "block1": [8]}, "slot.*block2")],
)
def test_wrong_tables_are_explained(address, store, table, match):
    with pytest.raises(InputError, match=match):
        load_registered_predictor(address, target=store).predict(table)


def test_missing_folder_and_wrong_address_are_told(store, tmp_path):
    with pytest.raises(CheckpointError, match="save_pretrained"):
        register_predictor(tmp_path / "absent", target=store)
    with pytest.raises(InputError, match="models:/"):
        load_registered_predictor("meta", target=store)
