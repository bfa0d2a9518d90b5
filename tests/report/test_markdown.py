from __future__ import annotations

import pytest

from rankadaptor.errors import InputError
from rankadaptor.report import render_markdown, update_markers
from rankadaptor.report.markdown import BUILDERS
from tests.report.documents import make_document


def test_every_block_is_rendered_and_results_join_the_main_ones():
    blocks = render_markdown(make_document())
    assert set(blocks) == {"verdict", "results", *BUILDERS}
    assert blocks["verdict"].startswith("**No difference from uniform r=8 was found in 24-step fine-tunes.**")
    for name in ("verdict", "losses", "accuracy", "differences"):
        assert blocks[name] in blocks["results"]


def test_an_empty_run_gives_sentences():
    blocks = render_markdown({"schema": 1, "result": {}})
    assert blocks["accuracy"] == "No accuracy table: the run evaluated no benchmark.\n"
    assert "No verdict yet" in blocks["verdict"]


def test_markers_keep_everything_around_them(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(
        "# Title\n<!-- generated:a -->\nold\n<!-- /generated:a -->\nbetween\n"
        "<!-- generated:b --><!-- /generated:b -->\nend\n"
    )
    blocks = {"a": "new \\1 text\n", "b": "| x |\n|---|\n", "unused": "nothing"}
    assert update_markers(file, blocks) == ["a", "b"]
    assert file.read_text() == (
        "# Title\n<!-- generated:a -->\nnew \\1 text\n<!-- /generated:a -->\nbetween\n"
        "<!-- generated:b -->\n| x |\n|---|\n<!-- /generated:b -->\nend\n"
    )
    assert update_markers(file, blocks) == []


def test_a_marker_may_stand_twice(tmp_path):
    file = tmp_path / "doc.md"
    file.write_text("<!-- generated:a --><!-- /generated:a -->\n" * 2)
    update_markers(file, {"a": "x"})
    assert file.read_text().count("\nx\n") == 2


def test_an_open_marker_is_named_with_its_line(tmp_path):
    file = tmp_path / "doc.md"
    file.write_text(
        "one\n<!-- generated:a -->\n<!-- generated:b -->\n<!-- /generated:b -->\n<!-- /generated:a -->\n"
    )
    with pytest.raises(InputError, match=r"doc\.md:2: the marker <!-- generated:a --> is not closed"):
        update_markers(file, {"a": "x"})
    with pytest.raises(InputError, match="no such file"):
        update_markers(tmp_path / "absent.md", {})
