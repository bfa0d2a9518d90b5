"""What documents say of short runs saved follows from the rows, either way."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.predictors.guidance import settle, write_guidance, write_replay
from experiments.predictors.guidance_figures import plot_guidance, plot_replay
from rankadaptor.errors import InputError

SAME, WORSE = "no difference", "worse"


def make_rows(outcomes: dict[str, list[list[str]]]) -> list[dict[str, Any]]:
    """Make rows from the outcomes after 2, 4 and 8 short runs, a list a search."""
    gains = {SAME: 0.001, WORSE: -0.02, "better": 0.02}
    return [
        {
            "predictor": name,
            "search_seed": seed,
            "short_runs": runs,
            "gain": gains[outcome],
            "gain_low": gains[outcome] - 0.01,
            "gain_high": gains[outcome] + 0.01,
            "outcome": outcome,
        }
        for name, searches in outcomes.items()
        for seed, found in enumerate(searches)
        for runs, outcome in zip((2, 4, 8), found, strict=True)
    ]


def test_a_verdict_is_settled_once_it_stays() -> None:
    rows = make_rows({"meta": [[SAME, WORSE, SAME], [SAME, SAME, SAME], [WORSE, SAME, SAME]]})
    assert settle(rows, "meta") == [8, 2, 4]


def test_savings_are_claimed_only_where_there_are_some() -> None:
    late, early = [[WORSE, WORSE, SAME]] * 2, [[SAME, SAME, SAME]] * 2
    saved = write_guidance(make_rows({"gaussian_process": late, "meta": early}), figure="f.png")
    assert "after 8: 2 and 2 with the trained predictor" in saved
    assert "8 and 8 without a corpus" in saved
    assert "the corpus saves short runs here." in saved
    lost = write_guidance(make_rows({"gaussian_process": early, "meta": late}), figure="f.png")
    assert "the corpus saves no short runs here." in lost
    harm = write_guidance(
        make_rows({"gaussian_process": [[SAME, SAME, "better"]], "meta": [[WORSE] * 3]}), figure="f.png"
    )
    assert "so nothing is saved." in harm
    level = write_guidance(make_rows({"gaussian_process": early, "meta": early}), figure="f.png")
    assert "saves no short runs here: 2, the fewest looked at, do without it too." in level


def test_the_figure_has_a_curve_a_predictor() -> None:
    rows = make_rows({"gaussian_process": [[WORSE, SAME, SAME]], "meta": [[SAME, SAME, "better"]]})
    (axis,) = plot_guidance(rows).axes
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["trained on the corpus (meta)", "without a corpus (gaussian_process)"]
    with pytest.raises(InputError, match="No rows"):
        plot_guidance([])


def make_replays(taught: list[float], untaught: list[float]) -> list[dict[str, Any]]:
    """Make rows of two settings around the given means after 1, 2 and 4 short runs."""
    return [
        {"setting": setting, "way": way, "short_runs": runs, "gain": gain + aside}
        for way, gains in (("greedy", taught), ("untaught", untaught))
        for runs, gain in zip((1, 2, 4), gains, strict=True)
        for setting, aside in (("a", 0.1), ("b", -0.1))
    ]


def test_what_each_way_hands_over_is_said_and_drawn() -> None:
    rows = make_replays([0.2, 0.3, -0.3], [-1.0, 0.1, 0.25])
    ways = {"greedy": "with a corpus", "untaught": "without"}
    text = write_replay(rows, figure="f.png", ways=ways)
    assert "of 2 settings" in text
    assert "after 1, 2, 4 short runs" in text
    assert text.endswith("is with a corpus +0.20, +0.30, −0.30; without −1.00, +0.10, +0.25.")
    (axis,) = plot_replay(rows, ways=ways).axes
    assert "2 settings" in axis.get_title(loc="left")
    assert [line.get_label() for line in axis.get_lines()[1:]] == list(ways.values())
    with pytest.raises(InputError, match="other"):
        plot_replay(rows, ways={"other": ""})
