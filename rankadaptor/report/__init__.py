"""Reports of a run: one HTML page, tables for the terminal, and tables for documents.

Importing this loads neither torch nor matplotlib.
"""

from __future__ import annotations

from rankadaptor.report.console import render_console
from rankadaptor.report.markdown import render_markdown
from rankadaptor.report.markers import update_markers
from rankadaptor.report.page import render_page, write_report
from rankadaptor.report.showcase import fill_document

__all__ = [
    "fill_document",
    "render_console",
    "render_markdown",
    "render_page",
    "update_markers",
    "write_report",
]
