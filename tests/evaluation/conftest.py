"""The kit's rows replaced by hand-made ones, so that these tests need no download."""

from __future__ import annotations

import pytest

from tests.evaluation.items import make_rows


@pytest.fixture
def own_rows(monkeypatch):
    from datasets import Dataset

    monkeypatch.setattr(
        "rankadaptor.kit.load_benchmark_rows", lambda name: Dataset.from_list(make_rows(name))
    )
