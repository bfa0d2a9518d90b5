"""Each step of a run has a digest of what it depends on, and of nothing else."""

from __future__ import annotations

import pytest

from rankadaptor.config import build_run, digest_steps
from rankadaptor.config.steps import FIXED, STEP_INPUTS, is_fixed, list_step_keys


def list_changed(values, base=None):
    before, after = digest_steps(build_run(base or {})), digest_steps(build_run({**(base or {}), **values}))
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({"confirm": {"seeds": 10}}, {"confirm"}),
        ({"recover": {"steps": 500}}, {"choose", "adapters", "recover", "adapter_scores", "evaluate"}),
        ({"recover": {"baselines": ["uniform", "random"]}}, {"recover"}),
        ({"evaluate": {"limit": 10}}, {"scores", "adapter_scores", "evaluate"}),
        ({"evaluate": {"models": ["uniform"]}}, {"evaluate"}),
        (
            {"search": {"evaluations": 11}},
            set(STEP_INPUTS) - {"prepare", "space", "tune", "scores", "choose"},
        ),
        ({"space": {"like_uniform": 16}}, set(STEP_INPUTS) - {"prepare", "scores"}),
        ({"seed": 1}, set(STEP_INPUTS)),
        ({"name": "other", "compute": {"workers": 2}}, set()),
    ],
)
def test_a_change_reaches_the_steps_that_depend_on_it(values, changed):
    assert list_changed(values) == changed


def test_a_super_adapter_is_as_long_as_the_recovery_unless_it_is_told():
    change = {"recover": {"steps": 500}}
    assert "search" in list_changed(change, {"measure": {"kind": "elastic"}})
    assert "search" not in list_changed(change, {"measure": {"kind": "elastic", "steps": 50}})


def test_everything_that_changes_results_belongs_to_a_step():
    config = build_run({})
    later = ("confirm", "recover", "evaluate")
    for key in config.list_inputs():
        assert is_fixed(config, key) == (key.split(".")[0] not in later)
        owners = [
            step
            for step in STEP_INPUTS
            for given in list_step_keys(config, step)
            if key == given or key.startswith(f"{given}.")
        ]
        assert owners, f"no step depends on {key}"
    assert set(FIXED) < set(STEP_INPUTS)
