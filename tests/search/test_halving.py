from __future__ import annotations

import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.corpus import Record
from rankadaptor.errors import InputError, RankAdaptorError
from rankadaptor.search import halve
from tests.space.shapes import build_linears


class Measure:
    """Gains that are the position in the list, and turn round at `turns` steps; some runs fail."""

    def __init__(self, allocations, *, turns=10**9, failing=()):
        self.order = {allocation.values: place for place, allocation in enumerate(allocations)}
        self.turns, self.failing, self.calls = turns, failing, []

    def __call__(self, allocations, steps):
        self.calls.append((len(allocations), steps))
        return [self.measure(allocation, steps) for allocation in allocations]

    def measure(self, allocation, steps):
        place = self.order[allocation.values]
        failed = place in self.failing
        gain = -place if steps >= self.turns else place
        return Record.of_fine_tune(
            setting="s", values=allocation.values, seed=0, steps=steps, fidelity=steps / 100,
            loss=None if failed else 3.0 - gain, loss_reference=3.0, parameters=1, tokens=steps,
            seconds=0.1, status="failed" if failed else "ok",
        )  # fmt: skip


@pytest.fixture
def allocations():
    return RankSpace.from_linears(build_linears(), like_uniform=4, slots="half_block").sample(20, seed=0)


def test_the_best_third_goes_on_and_every_rung_is_kept(allocations):
    measure = Measure(allocations)
    found = halve(allocations, measure, rungs=(8, 24, 72))
    assert measure.calls == [(20, 8), (6, 24), (2, 72)]
    assert found.best == allocations[-1]
    assert [len(rung.records) for rung in found.rungs] == [20, 6, 2]
    assert {record.steps for record in found.rungs[1].records} == {24}
    assert len(found.records) == 28
    told = found.rungs[2].to_json()
    assert (told["steps"], told["fidelity"]) == (72, 0.72)
    assert [record["gain"] for record in told["records"]] == [19, 18]


def test_the_longest_rung_decides(allocations):
    assert halve(allocations, Measure(allocations, turns=72), rungs=(8, 24, 72)).best == allocations[-2]


def test_failed_runs_never_go_on_and_a_failed_rung_leaves_the_one_before(allocations):
    measure = Measure(allocations, failing={17, 18, 19})
    found = halve(allocations, measure, rungs=(8, 24))
    assert found.best == allocations[16]
    assert all(record.status == "ok" for record in found.rungs[1].records)

    class LateFailure(Measure):
        def measure(self, allocation, steps):
            self.failing = range(20) if steps > 8 else ()
            return super().measure(allocation, steps)

    found = halve(allocations, LateFailure(allocations), rungs=(8, 24, 72))
    assert found.best == allocations[-1]
    assert [rung.steps for rung in found.rungs] == [8, 24]
    with pytest.raises(RankAdaptorError, match="20 fine-tunes"):
        halve(allocations, Measure(allocations, failing=range(20)), rungs=(8, 24))


def test_one_always_goes_on(allocations):
    measure = Measure(allocations)
    assert halve(allocations[:2], measure, rungs=(1, 2, 3), keep=0.1).best == allocations[1]
    assert measure.calls == [(2, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("count", "rungs", "keep"),
    [(0, (1,), 0.3), (3, (), 0.3), (3, (4, 4), 0.3), (3, (0, 4), 0.3), (3, (4,), 1.0)],
)
def test_what_makes_no_sense_is_refused(allocations, count, rungs, keep):
    with pytest.raises(InputError):
        halve(allocations[:count], Measure(allocations), rungs=rungs, keep=keep)
