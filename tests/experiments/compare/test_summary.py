"""What a comparison is said to have found."""

from __future__ import annotations

import pytest

from experiments.compare.summary import describe_comparison


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([0.010, 0.011, 0.012], "`ranks: two stages` gains most"),
        ([0.010, -0.009, 0.002], "no gain exceeds chance"),
        ([-0.010, -0.011, -0.012], "no gain exceeds chance"),
    ],
)
def test_a_way_leads_only_beyond_chance(gains: list[float], expected: str) -> None:
    rows = [
        {
            "job": "short", "setting": setting, "method": method, "gains": own, "outcome": "no difference",
            "trials": 4, "trial_steps": 2, "steps": 8,
        }
        for setting in ("one", "two")
        for method, own in (("uniform", [0.0] * 3), ("ours", gains))
    ]  # fmt: skip
    assert f", {expected}. Gains over uniform" in describe_comparison(rows)
