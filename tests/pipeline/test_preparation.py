"""A run that goes on must find what it began with, and exponents must agree at uniform."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rankadaptor.config import build_run
from rankadaptor.errors import InputError
from rankadaptor.pipeline.preparation import complete_preparation, load_space, make_recipe, pick_compute
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.tuning import locate_records
from rankadaptor.runtime import Compute

if TYPE_CHECKING:
    from rankadaptor.pipeline.trials import TrialSource


def test_changed_rows_and_another_precision_are_noticed(pico_run: dict[str, Any], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    text = Path(pico_run["data"]["train"]).read_text()
    rows.write_text(text)
    pico_run["data"]["train"] = str(rows)
    config = build_run(pico_run)
    compute = pick_compute(config)
    with open_run(tmp_path / "out", config) as folder:
        first = complete_preparation(folder, config, compute=compute)
        assert complete_preparation(folder, config, compute=compute) == first
        other = dataclasses.replace(compute, dtype="bfloat16")
        with pytest.raises(InputError, match="precision float32 → bfloat16"):
            complete_preparation(folder, config, compute=other)
        rows.write_text(text.replace("follows", "precedes"))
        with pytest.raises(InputError, match=r"training rows .* → .*held-out rows[\s\S]*--fresh"):
            complete_preparation(folder, config, compute=compute)


def test_trials_that_move_to_another_device_are_noticed(pico_run: dict[str, Any], tmp_path: Path) -> None:
    config, moved = (
        build_run({**pico_run, "compute": {"executor": "ray", "gpus_per_trial": gpus}}) for gpus in (0, 0.5)
    )
    compute = Compute(device="cpu", dtype="float32", threads=1, reason="a test")
    with open_run(tmp_path / "out", config) as folder:
        complete_preparation(folder, config, compute=compute)
        with pytest.raises(InputError, match="device of trials cpu → cuda"):
            complete_preparation(folder, moved, compute=compute)


def test_the_reference_rank_is_that_of_free_slots(pico_run: dict[str, Any], tmp_path: Path) -> None:
    pico_run["space"] = {"slots": "block", "ranks": [0, 1, 2, 3, 4], "like_uniform": 3, "pinned": {0: 4}}
    config = build_run(pico_run)
    with open_run(tmp_path / "out", config) as folder:
        complete_preparation(folder, config, compute=pick_compute(config))
        space = load_space(folder, config)
    free = max(rank for slot, rank in zip(space.slots, space.reference, strict=True) if slot.pinned is None)
    assert max(space.reference) == 4 > free
    assert make_recipe(config, space).reference_rank == free


def test_uniform_s_trial_is_shared_between_exponents_only_where_they_agree(
    pico_source: Callable[..., TrialSource], pico_run: dict[str, Any]
) -> None:
    source = pico_source()
    zero, one = (source.recipe.replace(scaling_exponent=exponent) for exponent in (0.0, 1.0))
    assert locate_records(source, zero) == locate_records(source, one)
    space = source.space
    uneven = dataclasses.replace(space, reference=(1, *space.reference[1:]))
    pinned = dataclasses.replace(source, space=uneven)
    assert locate_records(pinned, zero) != locate_records(pinned, one)
