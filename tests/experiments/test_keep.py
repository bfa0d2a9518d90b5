from __future__ import annotations

import json

from experiments.keep import keep_result
from rankadaptor.results import read_result
from tests.report.documents import make_document


def test_a_result_is_kept_under_the_name_of_its_run(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(make_document()))
    kept = keep_result(tmp_path, results=tmp_path / "results")
    assert kept == tmp_path / "results" / "pico-demo.json"
    assert read_result(kept) == make_document()
