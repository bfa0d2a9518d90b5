from __future__ import annotations

import pytest

from rankadaptor.errors import InputError
from rankadaptor.pruning.groups import find_groups


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_groups_of_a_block_account_for_every_parameter_they_can(pico_model, family) -> None:
    model = pico_model(family, 1)
    heads, channels = find_groups(model)
    linears = [model.get_submodule(m.name) for m in (*heads.members, *channels.members)]
    total = sum(parameter.numel() for linear in linears for parameter in linear.parameters())
    assert heads.count * heads.parameters + channels.count * channels.parameters == total
    assert (heads.count, channels.count) == (2, 64)


def test_a_kv_group_couples_its_query_heads_and_a_query_head_stands_alone(pico_model) -> None:
    model = pico_model("llama", 1)
    (whole,) = find_groups(model, targets=["heads"])
    assert {m.name.rsplit(".", 1)[1]: (m.axis, m.repeats * m.width) for m in whole.members} == {
        "q_proj": (0, 16),
        "k_proj": (0, 8),
        "v_proj": (0, 8),
        "o_proj": (1, 16),
    }
    (single,) = find_groups(model, targets=["heads"], head_unit="query_head")
    assert {m.name.rsplit(".", 1)[1] for m in single.members} == {"q_proj", "o_proj"}
    assert (single.count, single.partitions, single.parameters) == (4, 2, 2 * 8 * 32)


def test_only_the_asked_blocks_are_searched(pico_model) -> None:
    groups = find_groups(pico_model("llama", 3), targets=["channels"], blocks=[1])
    assert [(entry.block, entry.target) for entry in groups] == [(1, "channels")]


def test_unknown_names_are_refused(pico_model) -> None:
    model = pico_model("llama", 1)
    with pytest.raises(InputError, match=r"targets=\['experts'\].*heads.*channels"):
        find_groups(model, targets=["experts"])
    with pytest.raises(InputError, match=r"head_unit='layer'.*kv_group"):
        find_groups(model, head_unit="layer")
