"""What a run computes on, and which commit it names."""

from __future__ import annotations

import subprocess
import types
from pathlib import Path

import pytest
import torch

from rankadaptor import runtime
from rankadaptor.runtime import choose_compute, find_commit


@pytest.mark.parametrize(("major", "expected"), [(7, "float32"), (8, "bfloat16")])
def test_emulated_bfloat16_is_not_taken_for_native(
    monkeypatch: pytest.MonkeyPatch, major: int, expected: str
) -> None:
    device = types.SimpleNamespace(major=major, minor=5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: device)
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    chosen = choose_compute()
    assert (chosen.device, chosen.dtype) == ("cuda", expected)


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
