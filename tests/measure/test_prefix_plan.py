from __future__ import annotations

import random

from rankadaptor.measure.prefix_plan import find_shared, plan_passes, spread_depths

DEPTHS = [0, 0, 1, 1, 2, 2, 3, 3]
ORIGIN = (0,) * 8


def count_blocks(choices, **options):
    settings = {"depths": DEPTHS, "blocks": 4, "origin": ORIGIN, "room": 100} | options
    planned = plan_passes(choices, **settings)
    assert sorted(step.place for step in planned) == list(range(len(choices)))
    return planned, sum(4 - step.start for step in planned)


def test_a_sweep_computes_only_what_follows_the_origin():
    sweep = [tuple(int(i == slot) for i in range(8)) for slot in range(8)]
    planned, computed = count_blocks(sweep, kept=(1, 2, 3))
    assert computed == sum(4 - depth for depth in DEPTHS)
    assert all(step.from_origin for step in planned)
    assert count_blocks(sweep, kept=())[1] <= 30  # one pass keeps what the others share
    assert count_blocks(sweep, kept=(), room=0)[1] == 32


def test_every_common_beginning_is_computed_once_and_starts_are_sound():
    draw = random.Random(1)
    for room in (100, 2, 0):
        choices = list({tuple(draw.randrange(2) for _ in range(8)) for _ in range(60)})
        planned, computed = count_blocks(choices, room=room)
        stems = {c[: 2 * depth + 2] for c in choices for depth in range(4)}
        if room == 100:
            assert computed == len(stems)
        assert computed <= 4 * len(choices)
        saved: dict[int, tuple[int, ...]] = {}
        for step in planned:
            mine = choices[step.place]
            for depth in step.drops:
                del saved[depth]
            if step.start and step.from_origin:
                assert find_shared(mine, ORIGIN, DEPTHS, blocks=4) >= step.start
            elif step.start:
                assert find_shared(mine, saved[step.start], DEPTHS, blocks=4) >= step.start
            saved |= dict.fromkeys(step.saves, mine)
            assert len(saved) <= room
            assert all(depth > step.start for depth in step.saves)


def test_an_allocation_that_changes_the_output_head_alone_runs_no_block():
    planned = plan_passes([(1, 0)], depths=[4, 0], blocks=4, origin=(0, 0), kept=(2, 4), room=0)
    assert planned[0].start == 4


def test_the_origins_states_are_spread_over_the_blocks():
    assert spread_depths(4, room=9) == (1, 2, 3, 4)
    assert spread_depths(30, room=2) == (10, 20)
    assert spread_depths(30, room=0) == ()
