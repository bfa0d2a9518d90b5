"""The page on starts says what the rows say."""

from __future__ import annotations

from experiments.starts.page import render_starts

ROW = {
    "setting": "one", "way": "gradient", "learning_rate": 0.014, "own_rate": 0.01, "loss": 4.9, "gain": 0.004,
    "gain_low": 0.001, "gain_high": 0.007, "outcome": "better", "seeds": 5, "regained": 0.1,
}  # fmt: skip


def test_means_are_over_settings_and_each_has_its_table() -> None:
    rows = [
        {**ROW, "way": "random", "gain": 0.0, "outcome": "no difference"},
        ROW,
        {**ROW, "setting": "two", "gain": 0.002, "regained": 0.2, "outcome": "no difference"},
        {**ROW, "setting": "two", "way": "olora", "gain": None, "loss": None, "gain_low": None, "seeds": 0},
    ]
    text = render_starts(rows)
    assert "| gradient | 2 | +0.0030 | 2.5 % | 1 | 0 |" in text  # 4 % and 1 %
    assert "| random | 1 | +0.0000 | 0.0 % | 0 | 0 |" in text
    assert "| gradient | 0.014 (1.4 ×) | 4.9000 | +0.0040 | +0.0010 to +0.0070 | better |" in text
    assert "| olora | 0.014 (1.4 ×) | – | – | – |" in text
    assert "on 5 fresh seeds" in text
    assert text.index("## one") < text.index("## two")
