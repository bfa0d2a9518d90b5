from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from rankadaptor.errors import InputError
from rankadaptor.plots import (
    plot_accuracy,
    plot_curves,
    plot_predictions,
    plot_ranks,
    plot_search,
    to_png,
    to_svg,
)
from tests.report.documents import make_document

PLOTS = {
    "ranks": plot_ranks,
    "predictions": plot_predictions,
    "search": plot_search,
    "curves": plot_curves,
    "accuracy": plot_accuracy,
}
PARTS = ("pruning", "losses", "space", "search", "verdict", "recovered", "benchmarks")


def describe_fault(plot, document) -> str | None:
    try:
        plot(document)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", PLOTS)
def test_every_figure_has_titles_units_and_repeats_to_the_byte(name):
    document = make_document()
    figure = PLOTS[name](document)
    axes = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert axes
    assert figure.axes[-1].get_xlabel() or name == "accuracy"
    assert all(axis.get_ylabel() for axis in axes)
    png = to_png(figure, dots_per_inch=60)
    assert png.startswith(b"\x89PNG")
    assert png == to_png(PLOTS[name](document), dots_per_inch=60)


@pytest.mark.parametrize("missing", PARTS)
def test_a_figure_stands_any_missing_part_or_says_one_sentence(missing):
    document = make_document(n_blocks=4)
    del document["result"][missing]
    for plot in PLOTS.values():
        message = describe_fault(plot, document)
        assert message is None or (message.startswith("No ") and message.endswith("."))


def test_nothing_is_drawn_through_pyplot():
    plot_search(make_document())
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_an_svg_is_sound_described_and_without_outside_references():
    svg = to_svg(plot_ranks(make_document()), name="ranks", description='Ranks & "losses"')
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'Ranks & "losses"'
    assert root.get("viewBox")
    assert root.get("width") is None
    identifiers = re.findall(r'\bid="([^"]+)"', svg)
    assert identifiers
    assert all(name.startswith("ranks-") for name in identifiers)
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)
    assert {first or second for first, second in used} <= set(identifiers)
    assert "var(--ra-ink, " in svg


@pytest.mark.parametrize("slots", ["block", "half_block", "linear"])
def test_ranks_are_drawn_above_what_each_block_lost(slots):
    document = make_document(slots=slots, n_blocks=6)
    panels = [axis for axis in plot_ranks(document).axes if axis.get_title(loc="left")]
    assert len(panels) == 2
    assert panels[0].get_xlim() == panels[1].get_xlim()
    if slots == "linear":
        written = [int(text.get_text()) for text in panels[0].texts]
    else:
        written = [round(bar.get_height()) for bars in panels[0].containers for bar in bars]
    assert sorted(written) == sorted(document["result"]["verdict"]["candidate"])


def test_ranks_can_show_what_the_verdict_recommends():
    document = make_document(slots="block", n_blocks=6, outcome="worse")
    bars = plot_ranks(document, allocation="allocation").axes[0].containers[0]
    assert {bar.get_height() for bar in bars} == {8}


def test_a_space_over_some_blocks_leaves_the_others_empty():
    document = make_document(slots="linear", n_blocks=6)
    space = document["result"]["space"]
    kept = [index for index, slot in enumerate(space["slots"]) if slot["block"] in (2, 3)]
    space["slots"] = [space["slots"][index] for index in kept]
    space["reference"] = [8] * len(kept)
    document["result"]["verdict"]["candidate"] = [4] * len(kept)
    panels = plot_ranks(document).axes
    assert len(panels[0].texts) == 14
    assert {text.get_position()[0] for text in panels[0].texts} == {2, 3}


def test_the_best_so_far_never_falls_below_uniform():
    figure = plot_search(make_document())
    best = next(line for line in figure.axes[0].lines if str(line.get_label()).startswith("best"))
    values = list(best.get_ydata())
    assert values[0] >= 0
    assert values == sorted(values)


def test_only_predicted_evaluations_are_compared_with_their_measurement():
    document = make_document()
    history = document["result"]["search"]["history"]
    both = [entry for entry in history if None not in (entry["predicted_mean"], entry["gain"])]
    assert f"n = {len(both)}" in plot_predictions(document).axes[0].get_title(loc="left")
    for entry in history:
        entry["predicted_mean"] = None
    with pytest.raises(InputError, match="No predictions"):
        plot_predictions(document)


def test_a_search_whose_trials_all_failed_is_still_drawn():
    document = make_document()
    for entry in document["result"]["search"]["history"]:
        entry |= {"gain": None, "status": "failed"}
    assert plot_search(document).axes


def test_curves_show_the_distance_to_uniform_at_shared_steps():
    document = make_document()
    axes = plot_curves(document).axes
    assert len(axes) == 2
    searched = next(line for line in axes[1].lines if line.get_label() == "searched")
    recovered = document["result"]["recovered"]
    expected = [
        own["loss"] - searched["loss"]
        for own, searched in zip(recovered["uniform"]["curve"], recovered["searched"]["curve"], strict=True)
    ]
    assert list(searched.get_ydata()) == pytest.approx(expected)
    del recovered["uniform"]
    assert len(plot_curves(document).axes) == 1


def test_accuracy_survives_items_too_few_for_an_error():
    document = make_document()
    for model in document["result"]["benchmarks"].values():
        model["mean_standard_error"] = None
        for score in model.values():
            if isinstance(score, dict):
                score["standard_error"] = None
    assert to_png(plot_accuracy(document), dots_per_inch=50)
