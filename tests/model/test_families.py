from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from rankadaptor.errors import InputError
from rankadaptor.model.families import FAMILIES, describe_blocks, describe_linears, find_family


def test_describing_a_model_needs_no_torch() -> None:
    code = (
        "import sys; import rankadaptor.model.families, rankadaptor.model.record; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_architecture_is_named_with_the_supported_ones() -> None:
    model = SimpleNamespace(config=SimpleNamespace(model_type="mamba"))
    with pytest.raises(InputError, match=r"'mamba'.*llama, mistral, qwen2, qwen3.*add-a-family"):
        find_family(model)


@pytest.mark.parametrize("family", [name for family in FAMILIES for name in family.model_types])
def test_linears_are_named_as_torch_names_them(pico_model, family) -> None:
    import torch

    model = pico_model(family, 2)
    linears = describe_linears(model)
    expected = {n for n, m in model.model.layers.named_modules() if isinstance(m, torch.nn.Linear)}
    assert {linear.name.removeprefix("model.layers.") for linear in linears} == expected
    for linear in linears:
        module = model.get_submodule(linear.name)
        assert (linear.out_features, linear.in_features) == tuple(module.weight.shape)
        assert linear.name.endswith(linear.kind)
    assert [linear.block for linear in linears] == sorted(linear.block for linear in linears)


def test_block_widths_come_from_the_weights(pico_model) -> None:
    (shape,) = describe_blocks(pico_model("llama", 1))
    assert (shape.heads, shape.kv_heads, shape.head_dim, shape.channels) == (4, 2, 8, 64)
