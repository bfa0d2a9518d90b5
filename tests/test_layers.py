"""Rules for the whole package: imports point upstream, files stay short, nothing forbidden is called."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rankadaptor

ROOT = Path(rankadaptor.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

FLOW = (
    "errors", "files", "runtime", "progress", "workers", "recipe", "kit", "config", "data", "pruning",
    "models", "space", "features", "corpus", "predictor", "search", "recovery", "evaluation", "measure",
    "proxies", "comparison", "evidence", "results", "tracking", "card", "plots", "report", "doctor",
    "planning", "pipeline", "cli",
)  # fmt: skip
ENTRANCES = ("__init__", "__main__")
LONGEST = 400
VAGUE = ("utils", "util", "helpers", "common", "misc", "base")
FORBIDDEN_CALLS = (
    "print",
    "exec",
    "eval",
    "torch.save",
    "torch.load",
    "pickle.dump",
    "pickle.load",
    "joblib.dump",
    "joblib.load",
)
FORBIDDEN_MODULES = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")


def find_stage(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def list_imports(tree: ast.Module) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            whole = node.module == "rankadaptor"
            found += [
                (node.lineno, f"rankadaptor.{alias.name}" if whole else node.module or "")
                for alias in node.names
            ]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
    return found


def name_file(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_stage_has_its_place_in_the_flow():
    assert {find_stage(path) for path in FILES} == {*FLOW, *ENTRANCES}


@pytest.mark.parametrize("path", FILES, ids=name_file)
def test_imports_point_upstream(path):
    stage = find_stage(path)
    if stage in ENTRANCES:
        return
    for line, module in list_imports(parse(path)):
        parts = module.split(".")
        if parts[0] != "rankadaptor" or module == "rankadaptor.__version__":
            continue
        assert FLOW.index(parts[1]) <= FLOW.index(stage), (
            f"line {line}: {stage} imports {module}, which is downstream"
        )


@pytest.mark.parametrize("path", FILES, ids=name_file)
def test_files_are_short_and_typed_and_named_for_one_concept(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert path.stem not in VAGUE
    tree = parse(path)
    assert ast.get_docstring(tree) or not text.strip()
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert path.stem not in functions, "a function shares its module's name"


@pytest.mark.parametrize("path", FILES, ids=name_file)
def test_nothing_forbidden_is_called(path):
    tree = parse(path)
    for line, module in list_imports(tree):
        assert module.split(".")[0] not in FORBIDDEN_MODULES, f"line {line}: {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in FORBIDDEN_CALLS, (
                f"line {node.lineno}: {ast.unparse(node.func)}"
            )
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
