"""Every preset is a short run file that is sound as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from rankadaptor.cli import main
from rankadaptor.config import load_job
from rankadaptor.errors import InputError
from rankadaptor.presets import list_presets, write_preset


@pytest.mark.parametrize("name", list_presets())
def test_a_preset_is_a_sound_run_file_of_one_page(name: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / f"{name}.yaml"
    assert main(["init", str(path), "--preset", name, "--output", str(tmp_path / "out")]) == 0
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert text.startswith("# ")
    config = load_job(path)
    assert (config.name, config.model, config.output) == (name, "kit:smollm2-135m", str(tmp_path / "out"))
    assert "Next: rankadaptor plan" in capsys.readouterr().out


def test_another_model_takes_the_place_of_the_preset_s(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(write_preset("lonas", model="it's/here"))
    assert load_job(tmp_path / "a.yaml").model == "it's/here"


def test_an_unknown_preset_names_those_there_are() -> None:
    assert "lonas" in list_presets()
    with pytest.raises(InputError, match=r"preset 'nas': there are .*lonas"):
        write_preset("nas")
