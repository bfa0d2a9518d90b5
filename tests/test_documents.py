"""What documents show can be typed: imports, names, run files, commands, options, make goals."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import rankadaptor
from experiments.collect.studies import SettingStudies
from experiments.compare.config import ComparisonConfig
from experiments.jobs import JobFile, load_job
from experiments.parity.config import ParityConfig
from experiments.recovery.config import load_study
from experiments.slice_corpus.description import Description
from experiments.smaller.config import SmallerConfig
from rankadaptor.config import build_compression, build_run
from rankadaptor.config import load_job as load_run_file
from tests.documents import DOCUMENTS, ROOT, find_blocks, name_document

JOBS: dict[str, type[JobFile]] = {
    "compare": ComparisonConfig,
    "smaller": SmallerConfig,
    "parity": ParityConfig,
}


def list_blocks(*languages: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{name_document(path)}-{number}")
        for path in DOCUMENTS
        for number, block in enumerate(
            block for language in languages for block in find_blocks(path, language)
        )
    ]


@pytest.mark.parametrize("block", list_blocks("python"))
def test_python_blocks_name_what_exists(block: str) -> None:
    if block.startswith("Family("):  # an entry of a dict, shown alone
        block = f"_ = ({block})"
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ra":
            assert node.attr in rankadaptor.__all__, f"ra.{node.attr}"


@pytest.mark.parametrize("block", list_blocks("yaml"))
def test_yaml_blocks_are_run_files_or_comparisons(block: str) -> None:
    values = yaml.safe_load(block)
    if "settings" in values:
        ComparisonConfig.model_validate_json(json.dumps(values))
    elif values.get("job") == "compress":
        build_compression(values, source="document")
    else:
        build_run(values, source="document")


def test_committed_run_files_are_sound() -> None:
    # base_models are files of their own two scripts
    files = [file for file in ROOT.glob("experiments/**/*.yaml") if file.parent.name != "base_models"]
    assert files
    for file in files:
        if file.name == "studies.yaml":
            for name, given in yaml.safe_load(file.read_text("utf-8")).items():
                assert (file.parent / f"{name}.yaml").is_file()
                SettingStudies.model_validate_json(json.dumps(given))
        elif file.parent.name == "recovery":
            load_study(file)
        elif file.parent.name == "slice_corpus":
            Description.read(file)
        elif file.parent.name in JOBS:
            load_job(file, JOBS[file.parent.name])
        else:
            load_run_file(file)


def list_commands(path: Path, program: str) -> list[list[str]]:
    text = "".join(find_blocks(path, "(?:console|bash)")) + "\n".join(
        re.findall(rf"`({program} [^`\n]+)`", path.read_text("utf-8"))
    )
    lines = [line.strip().removeprefix("$ ") for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_document)
def test_commands_and_options_exist(path: Path) -> None:
    import typer.main

    from rankadaptor.cli.app import app

    known: Any = typer.main.get_command(app)
    for _, *words in list_commands(path, "rankadaptor"):
        if words[0].startswith("-"):
            continue
        assert words[0] in known.commands, words
        parameters = known.commands[words[0]].params
        options = {option for each in parameters for option in (*each.opts, *each.secondary_opts)}
        assert {word for word in words[1:] if word.startswith("-")} <= options | {"--help"}, words


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "Makefile"], ids=name_document)
def test_studies_that_are_named_can_be_run(path: Path) -> None:
    text = path.read_text("utf-8")
    for name, rest in re.findall(r"python -m experiments\.([a-z_.]+)([^`\n|]*)", text):
        module = importlib.util.find_spec(f"experiments.{name}")
        assert module is not None, name
        assert not module.submodule_search_locations or importlib.util.find_spec(
            f"experiments.{name}.__main__"
        )
        for given in re.findall(r"experiments/[\w/.-]+\.yaml", rest):
            assert (ROOT / given).is_file() or "NAME" in given, given


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_document)
def test_make_goals_exist(path: Path) -> None:
    goals = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    asked = {word for _, *words in list_commands(path, "make") for word in words[:1] if "=" not in word}
    assert asked <= goals
