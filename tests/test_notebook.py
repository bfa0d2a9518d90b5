"""The notebook runs from top to bottom, and is committed without outputs."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.documents import ROOT

NOTEBOOK = ROOT / "docs/notebooks/quickstart-on-a-pico-model.ipynb"


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_committed_without_outputs(notebook: Any) -> None:
    assert all(
        not cell.outputs and cell.execution_count is None for cell in notebook.cells if "outputs" in cell
    )


@pytest.mark.slow
def test_it_runs(notebook: Any) -> None:
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(ROOT))
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in data for data in shown) == 2
    assert any("; use " in data.get("text/plain", "") for data in shown), "no verdict"
