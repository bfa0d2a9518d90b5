"""Write the report, cards and figures of a finished run, and log them."""

from __future__ import annotations

from typing import Any

from rankadaptor.card import write_card
from rankadaptor.pipeline.finals import find_adapter
from rankadaptor.pipeline.running_job import RunningJob
from rankadaptor.plots import plot_accuracy, plot_curves, plot_predictions, plot_ranks, plot_search
from rankadaptor.results import explain_outcome

FIGURES = {
    "ranks": plot_ranks,
    "predictions": plot_predictions,
    "search": plot_search,
    "curves": plot_curves,
    "accuracy": plot_accuracy,
}


def publish_result(job: RunningJob, document: dict[str, Any]) -> None:
    """Write the report and a card beside every adapter, and log them.

    Args:
        job: The run; adapters lie in its folder.
        document: The whole result document.
    """
    folder, tracker = job.folder, job.tracker
    result = document["result"]
    outcome = explain_outcome(document)
    text = " ".join((f"Verdict: {outcome.headline}. {outcome.advice}", *outcome.evidence))
    tracker.log_tags({"mlflow.note.content": text})  # with the results of the full recoveries
    job.publish(document, FIGURES)
    tracker.log_json({"values": result["verdict"]["allocation"], "space": result["space"]}, "allocation.json")
    for name in result["recovered"]:
        if find_adapter(folder, name) == folder.adapter(name):  # not if another adapter has the same ranks
            tracker.log_file(write_card(folder.adapter(name), document), folder=f"cards/{name}")
