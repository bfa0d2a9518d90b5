"""Runs that share scores share the order of channels and heads too, whatever their processor computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rankadaptor.config import build_compression
from rankadaptor.errors import InputError
from rankadaptor.pipeline.compression import shared_importance
from rankadaptor.pipeline.compression.importance_file import write_importance
from rankadaptor.pipeline.compression.setting import IMPORTANCE_FILE, Setting
from rankadaptor.pipeline.compression.shared_importance import compute_importance, find_importance
from rankadaptor.pipeline.run_folder import RunFolder


@pytest.fixture
def open_setting(
    tmp_path: Path, pico_model: Callable[..., Any], pico_tokenizer: Any
) -> Callable[..., Setting]:
    pico_model("llama", blocks=2, hidden_size=64, intermediate_size=64, head_dim=16).save_pretrained(
        tmp_path / "model"
    )
    pico_tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "text.txt").write_text("\n".join(f"Line {n} of the fox, {n * n % 17}." for n in range(120)))

    def make(name: str, **changes: Any) -> Setting:
        values: dict[str, Any] = {
            "output": str(tmp_path / name),
            "model": str(tmp_path / "model"),
            "limits": {"size": "60KB"},
            "compute": {"threads": 1},
            "data": {
                "text": [str(tmp_path / "text.txt")],
                "other": None,
                "length": 16,
                "search_sequences": 8,
                "judge_sequences": 8,
            },
            "choices": {"importance_rows": 4, "types": ["Q8_0"], "embedding": ["Q8_0"]},
            "search": {"records": str(tmp_path / "shared" / "scores.jsonl")},
        }
        config = build_compression(values | changes)
        (tmp_path / name).mkdir(exist_ok=True)
        return Setting.of_run(RunFolder(tmp_path / name, config.digest(), config=config), config)

    return make


def perturb(setting: Setting, _: str | None = None) -> list[Any]:
    """Importances as another processor computes them: equal to many digits, in another order where close."""
    generator = np.random.default_rng(0)
    return [
        score * (1 + 0.1 * generator.standard_normal(score.shape)) for score in compute_importance(setting)
    ]


def test_runs_that_share_scores_name_them_alike_on_another_processor(
    open_setting: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def name_scores(setting: Setting) -> str:
        scores = find_importance(setting)
        write_importance(setting.folder.path / IMPORTANCE_FILE, scores)
        return str(setting.score.name_setting(setting.space))

    first = name_scores(open_setting("first"))
    monkeypatch.setattr(shared_importance, "compute_importance", perturb)
    assert name_scores(open_setting("second", limits={"size": "55KB"})) == first
    assert name_scores(open_setting("alone", search={})) != first
    assert len(list((tmp_path / "shared").glob("scores-importance-*.safetensors"))) == 1


def test_another_text_has_importances_of_its_own_and_a_damaged_file_is_named(
    open_setting: Callable[..., Setting], tmp_path: Path
):
    find_importance(open_setting("first"))
    (kept,) = (tmp_path / "shared").glob("*.safetensors")
    find_importance(open_setting("other", seed=3))
    assert len(list((tmp_path / "shared").glob("*.safetensors"))) == 2
    kept.write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"scores-importance-.*cannot be read .*delete both and run again"):
        find_importance(open_setting("first"))
