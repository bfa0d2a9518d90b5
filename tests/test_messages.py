"""Messages name keys of the run file that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import rankadaptor
from rankadaptor.config.faults import list_keys
from rankadaptor.config.loading import JOBS

ROOT = Path(rankadaptor.__file__).parent
SECTIONS = "compute|prune|data|space|recipe|search|measure|confirm|recover|evaluate|track|collect|meta_train"
KEY = re.compile(rf"(?<![\w./`])((?:{SECTIONS})\.[a-z_]+(?:\.[a-z_]+)*)(?![\w(/])")
FILES = (".json", ".jsonl", ".yaml", ".py")


def list_texts() -> list[tuple[str, str]]:
    texts = []
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts += [
            (f"{path.relative_to(ROOT)}:{node.lineno}", node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        ]
    return texts


def test_every_key_that_a_text_names_exists():
    known = {key for kind in JOBS.values() for key in list_keys(kind)}
    named = [
        (place, key) for place, text in list_texts() for key in KEY.findall(text) if not key.endswith(FILES)
    ]
    assert len(named) > 50
    assert [(place, key) for place, key in named if key not in known] == []
