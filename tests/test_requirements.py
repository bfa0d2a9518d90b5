"""Without a package that one feature needs, everything else works and that feature says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rankadaptor as ra
from rankadaptor import InputError
from rankadaptor.config import build_run
from rankadaptor.planning.preconditions import check_inputs
from rankadaptor.requirements import REQUIREMENTS, check_package, load_package
from tests.bench import make_bench


@pytest.fixture
def bench(tmp_path, monkeypatch, pico_model, pico_tokenizer):
    monkeypatch.chdir(tmp_path)
    return make_bench(tmp_path, monkeypatch, pico_model, pico_tokenizer)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda each: each.module)
def test_an_absent_package_is_named_with_how_to_go_on(requirement, monkeypatch):
    monkeypatch.setitem(sys.modules, requirement.module, None)
    for part in requirement.parts:
        monkeypatch.delitem(sys.modules, part, raising=False)
    for look in (check_package, load_package):
        with pytest.raises(InputError) as caught:
            look(requirement)
        text = str(caught.value)
        fault = f"needs the package {requirement.distribution}, which is not installed."
        assert text.startswith(f"{requirement.feature} {fault}")
        assert f'pip install "{requirement.distribution}' in text
        assert any(sign in text for sign in (">=", "=="))  # the versions that the package asks for
        assert requirement.instead in text


def test_a_plan_names_every_absent_package_with_its_key(bench, monkeypatch):
    asked = {
        "compute__quantise": "nf4",
        "compute__executor": "ray",
        "search__predictor": "boosted_trees",
        "evaluate__benchmarks": ["boolq"],
        "track__enabled": True,
    }
    check_inputs(build_run(bench.values(**asked), source="a test"), first=1)
    for requirement in REQUIREMENTS:
        monkeypatch.setitem(sys.modules, requirement.module, None)
    check_inputs(build_run(bench.values(), source="a test"), first=1)
    with pytest.raises(InputError, match="5 faults") as caught:
        check_inputs(build_run(bench.values(**asked), source="a test"), first=1)
    keys = [line.strip().split(": ")[0] for line in str(caught.value).splitlines()[1:]]
    assert sorted(keys) == sorted(key.replace("__", ".") for key in asked)


def test_boosted_trees_are_refused_before_anything_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    assert ra.make_predictor("ridge").name == "ridge"
    with pytest.raises(InputError, match="boosted_trees needs the package xgboost"):
        ra.make_predictor("boosted_trees")


def test_with_all_of_them_broken_the_rest_works(bench):
    """In a process of its own, since PEFT and others look for bitsandbytes as they are imported."""
    bench.command("run")
    script = Path(__file__).with_name("broken_packages.py")
    done = subprocess.run([sys.executable, str(script)], cwd=bench.folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
