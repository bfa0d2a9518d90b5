from __future__ import annotations

import json

from rankadaptor.report import fill_document
from tests.report.documents import make_document


def test_a_document_is_filled_with_tables_and_a_figure_that_it_links(tmp_path):
    source = tmp_path / "kept-elsewhere.json"
    source.write_text(json.dumps(make_document(n_blocks=4)))
    readme = tmp_path / "README.md"
    parts = ("figure", "results")
    readme.write_text("".join(f"<!-- generated:{name} -->\n<!-- /generated:{name} -->\n" for name in parts))
    assert set(fill_document(source, file=readme)) == set(parts)
    text = readme.read_text(encoding="utf-8")
    link = text.split("](")[1].split(")")[0]
    assert link == "figures/kept-elsewhere-ranks.png"  # whatever the run was called when it was measured
    assert (tmp_path / link).read_bytes().startswith(b"\x89PNG")
    assert "| searched | 3.3990 |" in text
    assert fill_document(source, file=readme) == []
