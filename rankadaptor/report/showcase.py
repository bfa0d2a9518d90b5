"""A run shown in a document of the project: result kept, tables and figure generated from it."""

from __future__ import annotations

from pathlib import Path

from rankadaptor.files import write_bytes, write_json
from rankadaptor.report.markdown import render_markdown
from rankadaptor.report.markers import update_markers
from rankadaptor.results import read_result

RESULTS = Path("experiments/results")


def keep_result(path: str | Path, *, results: str | Path = RESULTS) -> Path:
    """Keep a finished run's result as `<results>/<name of the run>.json`.

    Args:
        path: The run's output folder, or its result file.
        results: Folder of the results that are kept.

    Returns:
        The file written.

    Raises:
        InputError: If there is no result, or it is of another schema.
        StorageError: If it cannot be written.
    """
    document = read_result(path)
    target = Path(results) / f"{document['run']['name']}.json"
    write_json(target, document)
    return target


def fill_document(path: str | Path, *, file: str | Path) -> list[str]:
    """Fill the generated parts of a Markdown document from a run's result.

    The parts are those of `render_markdown`, and `figure`: the ranks over depth beside what each block lost,
    as a PNG in `figures/` beside the results.

    Args:
        path: The run's output folder, or its result file.
        file: The document; only parts between its markers change.

    Returns:
        The names of the parts that changed.

    Raises:
        InputError: If there is no result, or the document or its markers are not sound.
        StorageError: If something cannot be written.
    """
    from rankadaptor.plots import plot_ranks, to_png

    document, target = read_result(path), Path(file)
    blocks = render_markdown(document)
    name = document["run"]["name"]
    picture = RESULTS / "figures" / f"{name}-ranks.png"
    write_bytes(target.parent / picture, to_png(plot_ranks(document)))
    blocks["figure"] = (
        f"![Ranks over depth, and under them what pruning took from each block]({picture.as_posix()})"
    )
    return update_markers(target, blocks)
