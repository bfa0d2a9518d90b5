"""A run that goes on must find what it began with, and exponents must agree at uniform."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.config import build_run
from rankadaptor.errors import InputError
from rankadaptor.named_models import load
from rankadaptor.pipeline.preparation import (
    complete_preparation,
    describe_compute,
    load_space,
    make_recipe,
    pick_compute,
)
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.tuning import locate_records
from rankadaptor.runtime import BFLOAT16, Compute

if TYPE_CHECKING:
    from rankadaptor.pipeline.trial_source import TrialSource


@pytest.mark.parametrize("said", ["native", "emulated"])
def test_changed_rows_and_another_precision_are_noticed(
    pico_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    rows = tmp_path / "rows.jsonl"
    text = Path(pico_run["data"]["train"]).read_text()
    rows.write_text(text)
    pico_run["data"]["train"] = str(rows)
    config = build_run({**pico_run, "compute": {"device": "cpu"}})
    monkeypatch.setenv(BFLOAT16, said)
    begun = pick_compute(config)
    with open_run(tmp_path / "out", config) as folder:
        first = complete_preparation(folder, config, compute=begun)
        assert complete_preparation(folder, config, compute=begun) == first
        # The run goes on where the processor is of the other kind.
        other, what, slower = {
            "native": ("emulated", "bfloat16 → float32", r"has no native bfloat16: .*slower than float32\."),
            "emulated": ("native", "float32 → bfloat16", r"has native bfloat16: .*precision of the run\."),
        }[said]
        monkeypatch.setenv(BFLOAT16, other)
        remedy = rf"precision {what}.*compute.dtype is auto, and this processor {slower}"
        with pytest.raises(InputError, match=remedy) as fault:
            complete_preparation(folder, config, compute=pick_compute(config))
        assert f"--set compute.dtype={begun.dtype} goes on" in str(fault.value)
    settled = build_run({**pico_run, "compute": {"device": "cpu", "dtype": begun.dtype}})
    with open_run(tmp_path / "out", settled) as folder:  # what the message advises is no other run
        assert folder.continued
        assert complete_preparation(folder, settled, compute=pick_compute(settled)) == first
        noted = describe_compute(first, pick_compute(settled))
        assert noted == {"trial_device": "cpu", **dataclasses.asdict(begun)}
        assert f"RANKADAPTOR_BFLOAT16={said}" in noted["reason"]
        rows.write_text(text.replace("follows", "precedes"))
        with pytest.raises(InputError, match=r"training rows .* → .*held-out rows[\s\S]*--fresh"):
            complete_preparation(folder, settled, compute=pick_compute(settled))


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
    free = max(
        rank for slot, rank in zip(space.slots, space.reference().values, strict=True) if slot.pinned is None
    )
    assert max(space.reference().values) == 4 > free
    assert make_recipe(config, space).reference_rank == free


def test_uniform_s_trial_is_shared_between_exponents_only_where_they_agree(
    pico_source: Callable[..., TrialSource], pico_run: dict[str, Any]
) -> None:
    source = pico_source()
    zero, one = (source.recipe.replace(scaling_exponent=exponent) for exponent in (0.0, 1.0))
    assert locate_records(source, zero) == locate_records(source, one)
    model, _ = load(source.model, compute=source.compute)
    uneven = RankSpace.from_model(model, like_uniform=3, pinned={0: 4})
    pinned = dataclasses.replace(source, space=uneven)
    assert locate_records(pinned, zero) != locate_records(pinned, one)
