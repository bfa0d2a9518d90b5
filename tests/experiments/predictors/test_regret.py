"""The table of regrets: shares of each setting's spread, settings with signal alone."""

from __future__ import annotations

from typing import Any

from experiments.predictors.regret import render_regret


def make_row(setting: str, regret: float, *, spread: float, signal: bool, held_out: bool) -> dict[str, Any]:
    return {
        "predictor": "meta",
        "setting": setting,
        "held_out": held_out,
        "records": 0,
        "regret1": regret,
        "regret5": regret / 2,
        "measured_spread": spread,
        "signal": signal,
        "predicted_spread": 0.001,
    }


def test_settings_count_alike_and_silent_ones_not() -> None:
    rows = [
        make_row("large", 0.010, spread=0.100, signal=True, held_out=False),
        make_row("small", 0.003, spread=0.010, signal=True, held_out=False),
        make_row("silent", 9.0, spread=1.0, signal=False, held_out=False),
        make_row("unseen", 0.002, spread=0.010, signal=True, held_out=True),
    ]
    text = render_regret(rows)
    assert "**Left out in turn**: 2 settings." in text
    assert text.count("| **meta** |") == 2
    assert "| **meta** | 0.20 · 0.10 |" in text  # on the held-out setting, and the mean of 0.1 and 0.3
    assert render_regret(rows[2:3]).endswith("| **meta** | 9.00 · 4.50 |")
    silent = [{**row, "predicted_spread": 0.0} for row in rows]
    assert "| **meta** |  |" in render_regret(silent)
    fewer = [*rows, {**rows[0], "records": 4}]
    assert "| **meta** | 0.20 · 0.10 | 0.10 · 0.05 (n=1) |" in render_regret(fewer)
