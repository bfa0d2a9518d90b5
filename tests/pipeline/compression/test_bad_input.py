"""What a compression cannot do is named with what was given, the nearest possible, and the next step."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from rankadaptor.config import CompressConfig, build_compression
from rankadaptor.errors import BudgetError, InputError, StorageError
from rankadaptor.pipeline.compression import run_compression


@pytest.fixture(scope="module")
def source(
    tmp_path_factory: pytest.TempPathFactory, pico_model: Callable[..., Any], pico_tokenizer: Any
) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    model = pico_model("llama", blocks=2, hidden_size=64, intermediate_size=128, head_dim=16)
    model.save_pretrained(folder / "model")
    pico_tokenizer.save_pretrained(folder / "model")
    (folder / "text.txt").write_text("\n".join(f"Line {n} of the fox, {n * n % 17}." for n in range(120)))
    return folder


def describe(source: Path, output: Path, **changes: Any) -> CompressConfig:
    values: dict[str, Any] = {
        "output": str(output),
        "model": str(source / "model"),
        "limits": {"size": "60KB"},
        "compute": {"threads": 1},
        "data": {
            "text": [str(source / "text.txt")],
            "other": None,
            "length": 16,
            "search_sequences": 4,
            "judge_sequences": 8,
        },
        "choices": {"importance_rows": 2, "types": ["Q8_0", "Q4_0"], "embedding": ["Q8_0", "Q4_0"]},
        "search": {"evaluations": 20, "screen_sequences": 2, "finalists": 1},
        "recover": None,
        "references": [],
        "export": {"prompt": 16, "generated": 4, "check_tokens": 4},
        "track": {"enabled": False},
    }
    return build_compression(values | changes)


def test_a_latency_that_no_width_reaches_names_the_nearest_share(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANKADAPTOR_HOME", str(tmp_path / "home"))
    config = describe(source, tmp_path / "out", limits={"latency": "0.001x"})
    with pytest.raises(BudgetError, match=r"\(0\.001x\).*nearest possible limit is .*\(0\.\d{3}x\)\. Raise"):
        run_compression(config)
    assert (tmp_path / "out" / "steps" / "speed.json").exists()  # the measurements are kept


def test_parameters_below_the_embedding_name_what_it_needs(source: Path, tmp_path: Path):
    config = describe(source, tmp_path / "out", limits={"size": "60KB", "parameters": "5%"})
    with pytest.raises(BudgetError, match=r"limits\.parameters: given 5%.*embedding.*Give more"):
        run_compression(config)


def test_a_missing_engine_is_named_before_anything_runs(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANKADAPTOR_LLAMA", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"export\.engine: .*nothing.*Or set export\.engine: false"):
        run_compression(describe(source, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_the_file_cannot_hold_is_refused_before_the_search(
    source: Path, tmp_path: Path, pico_model: Callable[..., Any]
):
    import json
    import shutil

    odd = tmp_path / "odd"
    shutil.copytree(source / "model", odd)
    described = json.loads((odd / "tokenizer.json").read_text())
    described["pre_tokenizer"] = {"type": "Whitespace"}
    (odd / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"(?i)tokenizer"):
        run_compression(describe(source, tmp_path / "out", model=str(odd)))
    assert not (tmp_path / "out" / "steps" / "prepare.json").exists()


def test_a_full_disk_keeps_the_old_file_and_the_run_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, folder = describe(source, tmp_path / "out", export={"engine": False}), tmp_path / "out"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(b"the old file")
    write = gguf.GGUFWriter.write_tensor_data

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", refuse)
    with pytest.raises(StorageError, match=r"model\.gguf.*No space left"):
        run_compression(config)
    assert (folder / "model.gguf").read_bytes() == b"the old file"
    assert (folder / "steps" / "recover.json").exists()
    monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", write)
    assert run_compression(config)["result"]["export"]["bytes"] == (folder / "model.gguf").stat().st_size
