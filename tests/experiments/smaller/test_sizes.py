"""Sizes that passed are confirmed from the largest down, and the first that fails ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import pytest

from experiments.jobs import FinalSection
from experiments.smaller import sizes
from experiments.smaller.sizes import Attempt, confirm_sizes
from rankadaptor.components.adapter.ranks import ADAPTER_PARAMETERS, make_rank_slot
from rankadaptor.space import Allocation, Limit, Space
from rankadaptor.verdict import judge_gains

if TYPE_CHECKING:
    from experiments.compare.prepared_setting import PreparedSetting

FRESH = FinalSection(seeds=5)
Judge = Callable[[set[int]], list[tuple[int, bool]]]


@pytest.fixture
def confirm(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Confirm allocations that cost 60, 80 and 40 where those of the given costs are worse."""
    slots = tuple(
        make_rank_slot(
            name=f"block{block}", modules=(f"linear{block}",), sizes=(0, 2, 4, 8), costs=(0, 20, 40, 80),
            limited=ADAPTER_PARAMETERS, reference=8, block=block, kind="block", attributes={},
        )
        for block in (0, 1)
    )  # fmt: skip
    space = Space(slots, (Limit(ADAPTER_PARAMETERS, 160),), (("uniform", (3, 3)),))
    passed = [space.allocation(values) for values in ((4, 2), (4, 4), (2, 2))]

    def run(worse: set[int]) -> list[tuple[int, bool]]:
        def recover(prepared: Any, allocation: Allocation, final: FinalSection, **_: Any) -> Attempt:
            assert final is FRESH
            gain = -0.1 if allocation.cost() in worse else 0.0
            judged = judge_gains([gain + luck for luck in (-0.001, 0.0, 0.001, 0.0, 0.0)])
            return Attempt(allocation, judged, margin=0.01, tokens=1)

        monkeypatch.setattr(sizes, "_attempt", recover)
        confirmed = confirm_sizes(cast("PreparedSetting", None), passed, FRESH, margin=None)
        return [(each.allocation.cost(), each.accepted) for each in confirmed]

    return run


def test_all_sizes_that_hold_are_gone_through_from_the_largest(confirm: Judge) -> None:
    assert confirm(set()) == [(80, True), (60, True), (40, True)]


@pytest.mark.parametrize(
    ("worse", "seen"),
    [({40}, [(80, True), (60, True), (40, False)]), ({60}, [(80, True), (60, False)]), ({80}, [(80, False)])],
)
def test_the_first_that_fails_ends_it(confirm: Judge, worse: set[int], seen: list[tuple[int, bool]]) -> None:
    """Smaller ones are not given a chance of their own: each would be one more to pass by luck."""
    assert confirm(worse) == seen
