"""Stock mixtures give the sizes that llama-quantize gives."""

from __future__ import annotations

import pytest

from rankadaptor.engine.stock import choose_stock_types, find_stock, fit_type
from rankadaptor.engine.types import find_type
from rankadaptor.errors import InputError
from rankadaptor.model.families import LLAMA_LINEARS, Linear

SHAPES = {  # SmolLM2-135M: (inputs, outputs)
    "q_proj": (576, 576), "k_proj": (576, 192), "v_proj": (576, 192), "o_proj": (576, 576),
    "gate_proj": (576, 1536), "up_proj": (576, 1536), "down_proj": (1536, 576),
}  # fmt: skip
LINEARS = [
    Linear(name=f"model.layers.{block}.{path}", block=block, kind=kind, in_features=SHAPES[kind][0],
           out_features=SHAPES[kind][1])
    for block in range(30) for kind, path in LLAMA_LINEARS.items()
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "megabytes"),
    # Measured sizes of stock files of this model, which hold up to 2.5 MB of metadata besides.
    [
        ("Q8_0", 145), ("Q6_K", 138.5), ("Q5_K_M", 112.5), ("Q5_0", 105.0), ("Q4_K_M", 105.5),
        ("Q4_1", 98.4), ("Q4_0", 91.7), ("Q3_K_M", 94.5), ("Q2_K", 88.5),
    ],
)  # fmt: skip
def test_sizes_are_those_of_stock_files(name, megabytes):
    types = choose_stock_types(LINEARS, name, hidden=576, tied=True, grouped_queries=3)
    total = sum(find_type(types[x.name]).count_bytes(x.out_features, x.in_features) for x in LINEARS)
    total += find_type(types["model.embed_tokens"]).count_bytes(49152, 576) + 4 * 61 * 576
    assert megabytes - 3.0 < total / 1e6 < megabytes


def test_tensors_that_a_type_does_not_fit_fall_back_to_a_larger_one():
    assert fit_type("Q4_K", columns=576) == "Q5_0"
    assert fit_type("Q4_K", columns=1536) == "Q4_K"
    assert fit_type("Q4_0", columns=48) == "F16"
    types = choose_stock_types(LINEARS, "Q4_K_M", hidden=576, tied=False)
    assert types["model.layers.0.mlp.down_proj"] == "Q6_K"
    assert types["model.layers.4.mlp.down_proj"] == "Q4_K"
    assert types["lm_head"] == "Q8_0"
    assert types["model.embed_tokens"] == "Q5_0"


def test_importance_weights_change_the_first_down_projections():
    types = choose_stock_types(LINEARS, "Q4_0", hidden=576, tied=True, importance=True)
    assert [types[f"model.layers.{block}.mlp.down_proj"] for block in (2, 3)] == ["Q4_1", "Q4_0"]


def test_another_name_is_refused():
    with pytest.raises(InputError, match="Q3_K_M"):
        find_stock("Q3_XYZ")
