"""Tables and a figure of a run in a Markdown document, generated from its result."""

from __future__ import annotations

from pathlib import Path

from rankadaptor.files import write_bytes
from rankadaptor.report.markdown import render_markdown
from rankadaptor.report.markers import update_markers
from rankadaptor.results import find_result_file, read_result
from rankadaptor.results.document import FILE_NAME

FIGURES = Path("figures")


def fill_document(path: str | Path, *, file: str | Path, figures: str | Path = FIGURES) -> list[str]:
    """Fill the generated parts of a Markdown document from a run's result.

    The parts are those of `render_markdown`, and `figure`: the ranks over depth with the share removed from
    each block, as a PNG. Its name is that of the run, or of a result file that was kept under another name.

    Args:
        path: The run's output folder, or its result file.
        file: The document; only parts between its markers change.
        figures: Folder of the PNG, from the document's own.

    Returns:
        The names of the parts that changed.

    Raises:
        InputError: If there is no result, or the document or its markers are not sound.
        StorageError: If something cannot be written.
    """
    from rankadaptor.plots import plot_ranks, to_png

    source, target = find_result_file(path), Path(file)
    document = read_result(source)
    blocks = render_markdown(document)
    name = document["run"]["name"] if source.name == FILE_NAME else source.stem
    picture = Path(figures) / f"{name}-ranks.png"
    write_bytes(target.parent / picture, to_png(plot_ranks(document)))
    blocks["figure"] = f"![Ranks over depth; below, the share removed from each block]({picture.as_posix()})"
    return update_markers(target, blocks)
