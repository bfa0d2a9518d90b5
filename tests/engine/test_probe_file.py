"""Probe files: the size and the shapes of the real file, and the engine runs them."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from rankadaptor import InputError
from rankadaptor.engine import EngineSession
from rankadaptor.engine.file_plan import plan_file
from rankadaptor.engine.model_fields import read_shape
from rankadaptor.engine.probe_file import write_probe
from tests.engine.shapes import build_uneven, empty


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_a_probe_has_the_tensors_of_the_file(family, pico_model, tmp_path):
    model = empty(build_uneven(pico_model, family), mlp=[2])
    shape, types = read_shape(model), {"model.layers.0.mlp.down_proj": "Q4_0"}
    path = tmp_path / "probe.gguf"
    write_probe(shape, model.config, path, types=types, default_type="Q8_0")
    plan = plan_file(shape, [], types=types, default_type="Q8_0")
    found = {
        tensor.name: (tensor.tensor_type.name, tuple(tensor.shape[::-1]))
        for tensor in gguf.GGUFReader(path).tensors
    }
    assert found == {tensor.name: (tensor.type, tensor.shape) for tensor in plan.tensors}
    with EngineSession(path, context=64) as session:
        assert np.isfinite(session.logits([1, 2, 3])).all()
    with pytest.raises(InputError, match="whole blocks of 256"):
        write_probe(shape, model.config, path, default_type="Q4_K")
