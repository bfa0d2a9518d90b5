"""One HTML page per run, complete in one file so that it opens without a network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.files import write_text
from rankadaptor.report.compression import render_compression
from rankadaptor.report.elastic import render_elastic
from rankadaptor.report.markdown import BUILDERS
from rankadaptor.report.page_parts import Part, build_part, describe_run, draw_parts, load_template
from rankadaptor.results import (
    Document,
    explain_outcome,
    find_job,
    find_result_file,
    read_result,
)
from rankadaptor.results.document import FILE_NAME, check_schema
from rankadaptor.results.scores import explain_few_items
from rankadaptor.results.usage import explain_quantised, write_loading_code, write_merging_code

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

TEMPLATE = "template.html.j2"
RENDERERS: Mapping[str, Callable[[Document], str]] = {
    "compress": render_compression,
    "elastic": render_elastic,
}
"""Pages of other jobs than the rank search."""


def write_report(path: str | Path, *, output: str | Path | None = None) -> Path:
    """Write the HTML report of a run.

    Args:
        path: A run's output folder, or a result file.
        output: Where to write; beside the result file by default, as `report.html` or under the file's own
        name.

    Returns:
        The file written.

    Raises:
        InputError: If there is no result, or it is of another schema.
        StorageError: If the report cannot be written.
    """
    file = find_result_file(path)
    default = "report.html" if file.name == FILE_NAME else f"{file.stem}.html"
    target = file.with_name(default) if output is None else Path(output)
    if target.is_dir():
        target = target / default
    write_text(target, render_page(read_result(file)))
    logger.info("report: %s", target)
    return target


def render_page(document: Document) -> str:
    """Render the report as one HTML text without external references.

    Raises:
        InputError: If the document is of another schema.
    """
    check_schema(document)
    if (render := RENDERERS.get(find_job(document))) is not None:
        return render(document)
    result: dict[str, Any] = dict(document.get("result") or {})
    outcome = explain_outcome(document)
    page: str = load_template(TEMPLATE).render(
        **describe_run(document),
        outcome=outcome,
        few_items=explain_few_items(result.get("benchmarks") or {}),
        adapter=outcome.recommended if outcome.recommended in (result.get("recovered") or {}) else "",
        loading=write_loading_code(outcome.recommended),
        merging=write_merging_code(),
        quantised=explain_quantised(document),
        tables={name: build_part(name, build, document) for name, build in BUILDERS.items()},
        figures=_draw_parts(document),
    )
    return page


def _draw_parts(document: Document) -> dict[str, Part]:
    from rankadaptor import plots

    drawings: dict[str, tuple[Callable[..., Figure], str]] = {
        "ranks": (
            plots.plot_ranks,
            "Ranks of the candidate over depth; below, the share that pruning removed from each block. "
            "Uniform's rank is the dashed line, or the pale colour in a table of cells.",
        ),
        "search": (
            plots.plot_search,
            "Measured gain over uniform at each evaluation and the best so far. Dots inside the grey band "
            "are no larger than the noise of one paired measurement.",
        ),
        "predictions": (
            plots.plot_predictions,
            "Predicted against measured gain. On the dotted line, prediction and measurement agree.",
        ),
        "curves": (
            plots.plot_curves,
            "Held-out loss during the full fine-tunes, and each one's distance to uniform.",
        ),
        "accuracy": (
            plots.plot_accuracy,
            "Zero-shot accuracy with standard errors; dotted lines mark chance level.",
        ),
    }
    return draw_parts(document, drawings)
