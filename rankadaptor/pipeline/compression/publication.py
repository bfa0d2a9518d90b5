"""Write the report and the model's card of a finished compression, and log them with its figures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.files import write_text
from rankadaptor.pipeline.compression.delivery import FILE, MODEL_FOLDER
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.plots import plot_layers, plot_sizes, plot_speeds
from rankadaptor.report import write_report
from rankadaptor.results.compression import build_layers_table, build_points_table, explain_compression
from rankadaptor.tracking import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

FIGURES: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "front": plot_sizes,
    "front_other": partial(plot_sizes, part="other"),
    "speed": plot_speeds,
    "layers": plot_layers,
}


def publish(folder: RunFolder, document: dict[str, Any], tracker: Tracker) -> None:
    """Write the report and the card, and log everything that people look at.

    Args:
        folder: The run's folder.
        document: The whole result document.
        tracker: Where it is logged too.
    """
    card = folder.path / MODEL_FOLDER / "README.md"
    write_text(card, write_compression_card(document))
    tracker.log_file(write_report(folder.path))
    tracker.log_json(document, "result.json")
    tracker.log_file(card, folder="card")
    tracker.log_file(folder.path / FILE)
    for name, plot in FIGURES.items():
        try:
            tracker.log_figure(plot(document), f"plots/{name}.png")
        except InputError as error:
            logger.debug("no %s plot: %s", name, error)


def write_compression_card(document: dict[str, Any]) -> str:
    """Return the card of a compressed model as Markdown."""
    _, headline, sentences = explain_compression(document)
    model = document["run"]["config"]["model"]
    return "\n".join(
        [
            "---",
            "library_name: transformers",
            "tags: [rankadaptor, compressed]",
            "---",
            "",
            f"# {model}, compressed",
            "",
            headline,
            "",
            *(f"{sentence}\n" for sentence in sentences),
            "This folder holds the model before quantisation, `model.gguf` of the run in the types below.",
            "",
            "## Files that were compared",
            "",
            build_points_table(document).to_markdown(),
            "## Layers",
            "",
            build_layers_table(document).to_markdown(),
        ]
    )
