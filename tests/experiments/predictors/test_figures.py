from __future__ import annotations

import pytest

from experiments.predictors.figures import plot_contest, plot_start
from rankadaptor.errors import InputError


def test_every_count_of_a_contest_averages_over_the_same_settings():
    rows = [
        {
            "predictor": name, "setting": setting, "signal": True, "records": count,
            "kendall_ratio": ratio, "coverage90": ratio,
        }
        for name in ("meta", "gaussian_process")
        for setting, ratio, counts in (("large", 0.9, (0, 4, 32)), ("small", 0.3, (0, 4)))
        for count in counts
    ]  # fmt: skip
    for plot in (plot_contest, plot_start):
        figure = plot(rows)
        line = next(each for each in figure.axes[0].lines if "meta" in str(each.get_label()))
        assert list(line.get_ydata()) == pytest.approx([0.9, 0.9, 0.9])
        assert "in 1 settings" in figure.axes[0].get_title(loc="left")
    with pytest.raises(InputError, match="No rows"):
        plot_contest([])
    with pytest.raises(InputError, match="No rows of meta"):
        plot_start([])
