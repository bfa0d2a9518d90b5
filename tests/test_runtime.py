"""What a run computes on, and which commit it names."""

from __future__ import annotations

import subprocess
import types
from pathlib import Path

import pytest
import torch

from rankadaptor import runtime
from rankadaptor.config import build_run
from rankadaptor.errors import InputError
from rankadaptor.planning.rates import choose_rate
from rankadaptor.runtime import BFLOAT16, choose_compute, find_commit
from rankadaptor.workers import run_side_by_side


@pytest.mark.parametrize(("major", "expected"), [(7, "float32"), (8, "bfloat16")])
def test_emulated_bfloat16_is_not_taken_for_native(
    monkeypatch: pytest.MonkeyPatch, major: int, expected: str
) -> None:
    device = types.SimpleNamespace(major=major, minor=5)
    monkeypatch.delenv(BFLOAT16, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: device)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    chosen = choose_compute()
    assert (chosen.device, chosen.dtype) == ("cuda", expected)


@pytest.mark.parametrize(("said", "dtype"), [("native", "bfloat16"), ("emulated", "float32")])
def test_the_environment_says_what_the_processor_does(
    monkeypatch: pytest.MonkeyPatch, said: str, dtype: str
) -> None:
    monkeypatch.setenv(BFLOAT16, said)
    chosen = choose_compute(device="cpu")
    assert chosen.dtype == dtype
    assert f"RANKADAPTOR_BFLOAT16={said}" in chosen.reason
    assert choose_rate(build_run({"compute": {"device": "cpu"}}).compute).dtype == dtype
    for other in ("float32", "bfloat16"):
        assert choose_compute(device="cpu", dtype=other).dtype == other
        assert choose_rate(build_run({"compute": {"device": "cpu", "dtype": other}}).compute).dtype == other
    ((_, inherited),) = run_side_by_side(choose_compute, [{"device": "cpu"}], workers=1)
    assert inherited == chosen


@pytest.mark.parametrize(("flags", "dtype"), [("avx512_bf16", "bfloat16"), ("avx512f", "float32")])
def test_an_unset_or_empty_variable_has_the_processor_asked(
    monkeypatch: pytest.MonkeyPatch, flags: str, dtype: str
) -> None:
    monkeypatch.setattr(runtime, "read_cpu_flags", lambda: frozenset({"sse2", flags}))
    monkeypatch.setenv(BFLOAT16, "")
    for _ in range(2):
        chosen = choose_compute(device="cpu")
        assert (chosen.dtype, BFLOAT16 in chosen.reason) == (dtype, False)
        monkeypatch.delenv(BFLOAT16, raising=False)


def test_another_value_of_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BFLOAT16, "yes")
    with pytest.raises(
        InputError, match=r"RANKADAPTOR_BFLOAT16='yes': allowed are native and emulated. Unset"
    ):
        choose_compute(device="cpu")
    with pytest.raises(InputError, match="RANKADAPTOR_BFLOAT16='yes'"):
        choose_rate(build_run({"compute": {"device": "cpu"}}).compute)


def test_the_commit_of_a_surrounding_repository_is_not_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    file = tmp_path / ".venv" / "runtime.py"
    file.parent.mkdir()
    file.write_text("")
    (tmp_path / ".gitignore").write_text(".venv\n")
    git("init")
    git("add", ".gitignore")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    git(*identity, "commit", "-m", "theirs")
    monkeypatch.setattr(runtime, "__file__", str(file))
    assert find_commit.__wrapped__() == "unknown"
    git("add", "--force", ".venv/runtime.py")
    git(*identity, "commit", "-m", "ours")
    assert len(find_commit.__wrapped__()) == 12
