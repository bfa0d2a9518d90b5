"""Write the report and the model's card of a finished compression, and log them with its figures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rankadaptor.files import write_text
from rankadaptor.pipeline.compression.delivery import FILE, MODEL_FOLDER
from rankadaptor.pipeline.running_job import RunningJob
from rankadaptor.plots import plot_layers, plot_sizes, plot_speeds
from rankadaptor.results.compression import build_layers_table, build_points_table, explain_compression

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "front": plot_sizes,
    "front_other": partial(plot_sizes, part="other"),
    "speed": plot_speeds,
    "layers": plot_layers,
}


def publish(job: RunningJob, document: dict[str, Any]) -> None:
    """Write the report and the card, and log everything that people look at.

    Args:
        job: The run.
        document: The whole result document.
    """
    folder, tracker = job.folder, job.tracker
    card = folder.path / MODEL_FOLDER / "README.md"
    write_text(card, write_compression_card(document))
    job.publish(document, FIGURES)
    tracker.log_file(card, folder="card")
    tracker.log_file(folder.path / FILE)


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
