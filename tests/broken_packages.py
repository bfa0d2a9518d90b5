"""A program in which mlflow, lm-eval, ray, xgboost and bitsandbytes are installed and do not load."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import io
import sys
from pathlib import Path

BROKEN = ("bitsandbytes", "lm_eval", "mlflow", "ray", "xgboost")


class Breaker(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the packages and fails to load them, as where a native library is missing."""

    def find_spec(self, fullname, path=None, target=None):
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if fullname in BROKEN else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        raise OSError(f"lib{module.__name__}.so.1: cannot open shared object file")


sys.meta_path.insert(0, Breaker())

import pytest  # noqa: E402

import rankadaptor as ra  # noqa: E402
from rankadaptor import doctor  # noqa: E402
from rankadaptor.cli import main  # noqa: E402


def recover_a_model():
    """Prune, search, confirm, recover, save and load; return what can be evaluated."""
    model, tokenizer = ra.load("model")
    rows = ra.load_rows("rows.jsonl")
    pruned = ra.prune(model, tokenizer, ratio=0.3, importance="l2", align=4)
    ra.save_pruned(pruned, tokenizer, "pruned")
    space = ra.RankSpace.from_model(pruned, like_uniform=2)
    recipe = ra.Recipe(batch_size=4, micro_batch_size=4, sequence_length=32)
    measure = ra.ShortFineTune(pruned, tokenizer, data=rows, held_out_rows=8, recipe=recipe, steps=2)
    result = ra.Search(space, ra.MetaPredictor.from_pretrained()).run(measure, evaluations=2)
    verdict = ra.confirm(measure, result.best, seeds=2)
    adapter = ra.recover(pruned, tokenizer, verdict.allocation, data=rows, recipe=recipe, steps=2)
    adapter.save_pretrained("adapter", verdict=verdict)
    ra.load_adapter(ra.load("pruned")[0], "adapter")
    return adapter, tokenizer


def call(*words):
    """Run a command and return its exit code and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(words)
    return code, said.getvalue()


def expect(text, attempt):
    """Check that an attempt is refused with a text."""
    with pytest.raises(ra.InputError) as caught:
        attempt()
    said = str(caught.value)
    assert text in said, said
    assert "is installed but does not load (OSError: lib" in said, said
    assert "pip install --force-reinstall" in said, said


adapter, tokenizer = recover_a_model()

assert call("init", "new.yaml")[0] == 0
assert call("plan", "run.yaml")[0] == 0
code, said = call("run", "run.yaml")
assert code == 0, said
assert Path("out/report.html").is_file()
for key, package in (
    ("track.enabled=true", "mlflow"),
    ("evaluate.benchmarks=[boolq]", "lm-eval"),
    ("compute.executor=ray", "ray"),
    ("search.predictor=boosted_trees", "xgboost"),
    ("compute.quantise=nf4", "bitsandbytes"),
):
    code, said = call("run", "run.yaml", "--set", key, "--set", f"output=with-{package}")
    assert code == 2, said
    assert f"needs the package {package}, which is installed but does not load" in said, said
    assert not list(Path(f"with-{package}").glob("*.jsonl")), "something was measured before it was said"

expect("needs the package lm-eval", lambda: ra.evaluate(adapter, tokenizer, benchmarks=["boolq"]))
expect("needs the package bitsandbytes", lambda: ra.load("pruned", quantise="nf4"))
expect("needs the package xgboost", lambda: ra.make_predictor("boosted_trees"))
noted = [check.name for check in doctor.check_imports() if check.state == "note"]
assert noted == [f"package {name}" for name in ("bitsandbytes", "lm-eval", "mlflow", "ray", "xgboost")], noted
