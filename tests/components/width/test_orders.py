from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.components.composition import LiveModel, build_space
from rankadaptor.components.width import choose_widths, describe_halves, order_groups
from rankadaptor.errors import InputError
from rankadaptor.pruning.groups import find_groups
from rankadaptor.pruning.importance import score_groups
from rankadaptor.pruning.surgery import remove_groups

TOKENS = torch.randint(3, 100, (2, 10), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_width_keeps_the_most_important_groups_as_pruning_does(pico_model, family) -> None:
    model = pico_model(family, 2).double()
    groups = find_groups(model)
    scores = score_groups(model, groups, importance="l2")
    live = LiveModel(model, scores=scores)
    space = build_space(model, precision="F32", levels=2)
    wanted = {"attention": 1, "mlp": 32}
    values = [(wanted[slot.kind], "F32") if slot.kind in wanted else slot.options[-1] for slot in space.slots]
    small, _ = live.extract(space.allocation(values))
    removed = [
        sorted(np.argsort(-score, kind="stable")[wanted[half.kind] :].tolist())
        for half, score in zip(live.halves, scores, strict=True)
    ]
    remove_groups(model, groups, removed)
    with torch.no_grad():  # the groups come in another order, so sums are rounded otherwise
        assert (model(TOKENS).logits - small(TOKENS).logits).abs().max() < 1e-12


def test_reordering_all_groups_changes_no_logit(pico_model) -> None:
    model = pico_model("llama", 2).double()
    live = LiveModel(model, importance="random")
    order = live.order("block1.mlp")
    assert sorted(order) == list(range(64))
    assert order != sorted(order)
    reference = model(TOKENS).logits
    for half in live.halves:
        half_order = np.asarray(live.order(half.name))
        for part in half.parts:
            index = torch.from_numpy((half_order[:, None] * part.step + np.arange(part.step)).ravel())
            linear = model.get_submodule(part.name)
            linear.weight.data = linear.weight.data.index_select(part.member.axis, index)
    assert (model(TOKENS).logits - reference).abs().max() < 1e-12


def test_menus_are_multiples_of_32_and_every_number_of_groups(pico_model) -> None:
    model = pico_model("llama", 1, intermediate_size=1536)
    attention, mlp = describe_halves(model)
    assert choose_widths(mlp, cut=True, drop=True) == (0, 192, 384, 576, 768, 960, 1152, 1344, 1536)
    assert choose_widths(mlp, cut=True, drop=False, levels=3) == (512, 1024, 1536)
    assert choose_widths(mlp, cut=False, drop=True) == (0, 1536)
    assert choose_widths(attention, cut=True, drop=True) == (0, 1, 2)
    assert choose_widths(attention, cut=False, drop=False) == (2,)
    with pytest.raises(InputError, match="levels=0"):
        choose_widths(mlp, cut=True, drop=True, levels=0)


def test_scores_of_another_model_are_refused(pico_model) -> None:
    halves = describe_halves(pico_model("llama", 1))
    with pytest.raises(InputError, match="1 arrays of scores for 2 halves"):
        order_groups(halves, [np.ones(2)])
    with pytest.raises(InputError, match=r"block0\.mlp: scores of shape \(63,\); needed are 64"):
        order_groups(halves, [np.ones(2), np.ones(63)])
