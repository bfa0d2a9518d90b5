"""Write the report, cards and figures of a finished run, and log them."""

from __future__ import annotations

import logging
from typing import Any

from rankadaptor.card import write_card
from rankadaptor.errors import InputError
from rankadaptor.pipeline.finals import find_adapter
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.plots import plot_accuracy, plot_curves, plot_predictions, plot_ranks, plot_search
from rankadaptor.report import write_report
from rankadaptor.results import explain_outcome
from rankadaptor.tracking import Tracker

logger = logging.getLogger(__name__)

FIGURES = {
    "ranks": plot_ranks,
    "predictions": plot_predictions,
    "search": plot_search,
    "curves": plot_curves,
    "accuracy": plot_accuracy,
}


def publish_result(folder: RunFolder, document: dict[str, Any], tracker: Tracker) -> None:
    """Write the report and a card beside every adapter, and log them.

    Args:
        folder: The run's folder; adapters lie in it.
        document: The whole result document.
        tracker: Where it is logged too.
    """
    result = document["result"]
    outcome = explain_outcome(document)
    text = " ".join((f"Verdict: {outcome.headline}. {outcome.advice}", *outcome.evidence))
    tracker.log_tags({"mlflow.note.content": text})  # with the results of the full recoveries
    tracker.log_file(write_report(folder.path))
    tracker.log_json(document, "result.json")
    tracker.log_json({"values": result["verdict"]["allocation"], "space": result["space"]}, "allocation.json")
    for name in result["recovered"]:
        if find_adapter(folder, name) == folder.adapter(name):  # not if another adapter has the same ranks
            tracker.log_file(write_card(folder.adapter(name), document), folder=f"cards/{name}")
    for name, plot in FIGURES.items():
        try:
            tracker.log_figure(plot(document), f"plots/{name}.png")
        except InputError as error:
            logger.debug("no %s plot: %s", name, error)
