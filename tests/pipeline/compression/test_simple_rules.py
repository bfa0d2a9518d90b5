"""Rules with one type everywhere keep the limits and use what these leave; on a space of a small model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rankadaptor.components.composition import build_space
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.pipeline.compression.simple_rules import (
    OneType,
    choose_blocks,
    choose_by_scores,
    choose_share,
)
from rankadaptor.space import Allocation, Space

TYPES = ("Q8_0", "Q4_0")


@pytest.fixture
def make_space(pico_model: Callable[..., Any], pico_tokenizer: Any) -> Callable[..., Space]:
    model = pico_model("llama", blocks=3, hidden_size=64, intermediate_size=256, head_dim=16)

    def make(parameters: str, **values: Any) -> Space:
        return build_space(
            model,
            precision=TYPES,
            embedding=TYPES,
            tokenizer=pico_tokenizer,
            limits={"parameters": parameters},
            **values,
        )

    return make


def read_labels(space: Space, choices: tuple[int, ...]) -> list[tuple[Any, ...]]:
    labels = Allocation(choices, space).values
    return [label for label in labels if isinstance(label, tuple)]


@pytest.mark.parametrize("share", ["90%", "70%"])
@pytest.mark.parametrize("kind", TYPES)
def test_uniform_keeps_one_share_and_one_type(make_space: Callable[..., Space], share: str, kind: str):
    space = make_space(share)
    given = OneType.of_space(space, kind)
    choices = choose_share(given)
    assert given.keeps_limits(choices)
    assert {label[1] for label in read_labels(space, choices)} == {kind}
    mlps = [label[0] for label, slot in zip(Allocation(choices, space).values, space.slots, strict=True)
            if slot.kind == "mlp"]  # fmt: skip
    assert max(mlps) - min(mlps) <= 32  # one step of the narrowest type's block
    used = Allocation(choices, space).cost("parameters") / space.bounds[0]
    assert used > 0.9


def test_scores_decide_which_blocks_are_narrow(make_space: Callable[..., Space]):
    space = make_space("75%")
    given = OneType.of_space(space, "Q8_0")
    scores = {
        slot.name: np.full(int(slot.attribute("width", 1.0)), 10.0 if slot.block == 1 else 1.0)
        for slot in space.slots
        if slot.block is not None
    }
    choices = choose_by_scores(given, scores=scores)
    assert given.keeps_limits(choices)
    assert {label[1] for label in read_labels(space, choices)} <= {"Q8_0", "none"}
    labels = Allocation(choices, space).values
    kept = {
        slot.block: label[0] for slot, label in zip(space.slots, labels, strict=True) if slot.kind == "mlp"
    }
    assert kept[1] == 256
    assert kept[0] < 256
    assert kept[2] < 256


def test_blocks_are_dropped_in_order_until_the_limit_is_kept(make_space: Callable[..., Space]):
    space = make_space("80%")
    given = OneType.of_space(space, "Q4_0")
    choices = choose_blocks(given, order=[2, 0, 1])
    labels = Allocation(choices, space).values
    dropped = {slot.block for slot, label in zip(space.slots, labels, strict=True) if label == (0, "none")}
    assert 2 in dropped
    assert 1 not in dropped
    assert given.keeps_limits(choices)
    whole = make_space("80%", depth=False)
    with pytest.raises(InputError, match=r"cannot be dropped: choices\.depth is false"):
        choose_blocks(OneType.of_space(whole, "Q4_0"), order=[2, 0, 1])


def test_what_keeps_no_limit_or_has_no_type_is_refused(make_space: Callable[..., Space]):
    space = make_space("80%")
    with pytest.raises(InputError, match=r"has no option of the type Q5_0"):
        OneType.of_space(space, "Q5_0")
    tight = Space(space.slots, tuple(type(each)(each.resource, each.bound // 3) for each in space.limits),
                  space.references)  # fmt: skip
    with pytest.raises(BudgetError, match="all blocks but one"):
        choose_blocks(OneType.of_space(tight, "Q4_0"), order=[2, 0, 1])
