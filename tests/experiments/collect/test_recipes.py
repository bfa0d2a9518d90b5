"""What the recipe does to the comparison of allocations is measured beside a setting's records, and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.collect.__main__ import measure_studies
from experiments.collect.studies import RecipeSection, SettingStudies
from rankadaptor.config import build_run
from rankadaptor.corpus import Corpus
from rankadaptor.pipeline import collect_records


def test_exponents_and_rates_are_added_to_the_study(pico_run: dict[str, Any], tmp_path: Path) -> None:
    pico_run["search"]["steps"] = 2
    pico_run["recipe"]["tune"] = {"learning_rates": [1e-3, 1e-2]}
    pico_run["collect"] = {"corpus": str(tmp_path / "corpus"), "allocations": 4, "curve": [1]}
    collect_records(build_run(pico_run))
    file = tmp_path / "corpus" / "studies" / "pico.json"
    before = json.loads(file.read_text())
    recipe = RecipeSection(exponents=(0.0, 1.0), learning_rates=(0.5,), allocations=2, seeds=2)
    measure_studies(build_run(pico_run), SettingStudies(recipe=recipe))
    study = json.loads(file.read_text())
    assert {key: study[key] for key in before} == before
    assert len(study["exponents"]) == 2 * 2 * 3
    assert len(study["rates_by_allocation"]) == 2 * 2 * 3  # the tuned rate is one of them
    assert len({entry["learning_rate"] for entry in study["rates_by_allocation"]}) == 2
    uniform = list(Corpus.load(tmp_path / "corpus").space("pico").reference().values)
    at_uniform = {
        entry["loss"] for entry in study["exponents"] if entry["values"] == uniform and entry["seed"] == 0
    }
    assert len(at_uniform) == 1  # all exponents agree at uniform
    collect_records(build_run(pico_run))
    assert json.loads(file.read_text()) == study  # a later collection keeps it
