"""Rules for package and studies: imports point upstream, files stay short, nothing forbidden is called."""

from __future__ import annotations

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import rankadaptor

ROOT = Path(rankadaptor.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
STUDIES = sorted((ROOT.parent / "experiments").rglob("*.py"))

FLOW = (
    "credentials",
    "errors", "requirements", "files", "runtime", "progress", "workers", "methods", "recipe", "defaults",
    "kit", "config", "presets", "data", "model", "pruning", "named_models", "engine",
    "space", "components", "training", "supernet", "features", "corpus", "evaluation", "recovery", "measure",
    "predictor", "search",
    "proxies", "verdict", "results", "tracking", "card", "deployment", "plots", "report", "doctor",
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


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def list_imports(tree: ast.Module) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                found.append((node.lineno, "." * node.level + (node.module or "")))
                continue
            whole = node.module == "rankadaptor"
            found += [
                (node.lineno, f"rankadaptor.{alias.name}" if whole else node.module or "")
                for alias in node.names
            ]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
    return found


def name_file(path: Path) -> str:
    return str(path.relative_to(ROOT.parent))


def test_every_stage_has_its_place_in_the_flow():
    assert {find_stage(path) for path in FILES} == {*FLOW, *ENTRANCES}


def test_imports_point_upstream():
    violations = []
    for path in FILES:
        stage = find_stage(path)
        if stage in ENTRANCES:
            continue
        for line, module in list_imports(parse(path)):
            parts = module.split(".")
            if module.startswith("."):
                violations.append(f"{name_file(path)}:{line}: relative import of {module}")
            if parts[0] != "rankadaptor" or module == "rankadaptor.__version__":
                continue
            if FLOW.index(parts[1]) > FLOW.index(stage):
                violations.append(f"{name_file(path)}:{line}: {stage} imports {module}, which is downstream")
    assert not violations, "\n".join(violations)


def name_module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def list_modules(tree: ast.Module, known: set[str]) -> set[str]:
    """Return the modules of the package that a file imports, in functions and for types as well."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def test_no_modules_import_each_other():
    """Imports inside functions and under TYPE_CHECKING count; `__version__` of the package does not."""
    modules = {name_module(path): path for path in FILES}
    graph = {
        name: list_modules(parse(path), set(modules)) - {"rankadaptor"} for name, path in modules.items()
    }
    assert graph["rankadaptor.search.loop"] > {"rankadaptor.search.proposals", "rankadaptor.predictor"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"import cycle: {' → '.join(error.args[1])}") from error


def test_the_package_knows_nothing_of_this_repository():
    """Studies lie beside the package and use it, and no default leads into a copy of the repository."""
    violations = []
    for path in FILES:
        tree, name = parse(path), name_file(path)
        violations += [
            f"{name}:{line}: imports {module}"
            for line, module in list_imports(tree)
            if module.split(".")[0] == "experiments"
        ]
        violations += [
            f"{name}:{node.lineno}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and " " not in node.value
            and node.value.startswith(("experiments/", "experiments.", "docs/", "tests/"))
        ]
    assert not violations, "\n".join(violations)


def test_files_are_short_and_typed_and_named_for_one_concept():
    violations = []
    for path in [*FILES, *STUDIES]:
        text, tree, name = path.read_text(encoding="utf-8"), parse(path), name_file(path)
        if (lines := len(text.splitlines())) > LONGEST:
            violations.append(f"{name}: {lines} lines, {LONGEST} are allowed")
        if path.stem in VAGUE:
            violations.append(f"{name}: a vague name")
        if text.strip() and not ast.get_docstring(tree):
            violations.append(f"{name}: no docstring")
        if path.stem in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            violations.append(f"{name}: a function shares its module's name")
    assert not violations, "\n".join(violations)


def test_nothing_forbidden_is_called():
    violations = []
    for path in [*FILES, *STUDIES]:
        tree, name = parse(path), name_file(path)
        violations += [
            f"{name}:{line}: imports {module}"
            for line, module in list_imports(tree)
            if module.split(".")[0] in FORBIDDEN_MODULES
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in FORBIDDEN_CALLS:
                violations.append(f"{name}:{node.lineno}: calls {ast.unparse(node.func)}")
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                violations.append(f"{name}:{node.lineno}: bare except")
    assert not violations, "\n".join(violations)
