"""What `make wheel` has built and installed works in an empty folder, far from any checkout."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from rankadaptor import __version__
from tests.documents import ROOT
from tests.evaluation.items import make_rows
from tests.test_readme import make_texts, shrink_example

pytestmark = pytest.mark.wheel

COUNTING = """\
task: counting
dataset_path: json
output_type: multiple_choice
validation_split: validation
dataset_kwargs: {data_files: {validation: questions.jsonl}}
doc_to_text: query
doc_to_choice: choices
doc_to_target: gold
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 1}
"""
SHORT = (
    "data.train=texts.jsonl", "data.train_rows=null", "data.held_out_rows=8", "prune.ratio=0.3",
    "prune.align=4", "prune.calibration.source=texts.jsonl",
    "prune.calibration.examples=4", "prune.calibration.length=32",
    "space.ranks=[0,1,2,4]", "space.like_uniform=2", "recipe.batch_size=4", "recipe.micro_batch_size=4",
    "recipe.sequence_length=32", "recipe.tune.steps=2", "search.evaluations=2", "search.steps=2",
    "search.candidates=20", "confirm.seeds=2", "recover.steps=4", "evaluate.benchmarks=[counting.yaml]",
)  # fmt: skip
BENCHMARKS = """\
import json
from datasets import Dataset
import rankadaptor.kit

rows = json.loads(open("benchmarks.json").read())
rankadaptor.kit.load_benchmark_rows = lambda name: Dataset.from_list(rows[name])
"""
WHERE = """\
import rankadaptor, rankadaptor.doctor
print(rankadaptor.__file__)
print(*[f"{check.name} {check.state}" for check in rankadaptor.doctor.check_packages()], sep="\\n")
"""


@dataclass(frozen=True)
class Installed:
    """An environment in which the wheel is installed, and a folder to work in."""

    environment: Path
    folder: Path

    def call(self, program: str, *words: str) -> str:
        """Run a program of the environment as a user's shell would, and return what it writes to stdout."""
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(self.environment / "bin" / program), *words],
            cwd=self.folder, env=variables, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def installed(tmp_path):
    given = os.environ.get("RANKADAPTOR_WHEEL")
    if given is None:
        pytest.skip("`make wheel` says where the wheel is installed")
    return Installed(Path(given), tmp_path)


def test_the_wheel_holds_the_package_and_nothing_else():
    (wheel,) = (ROOT / "dist").glob("*.whl")
    about = f"rankadaptor-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"{about}/METADATA").decode()
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "rankadaptor").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(f"{about}/")} == ours
    assert {"rankadaptor/py.typed", "rankadaptor/predictor/trained/predictor.safetensors"} <= ours
    assert f"{about}/licenses/LICENSE" in names
    for package in ("mlflow", "lm-eval", "xgboost", "transformers"):
        assert f"\nRequires-Dist: {package}" in metadata


def test_the_installed_package_is_used_and_finds_its_dependencies(installed):
    place, *packages = installed.call("python", "-c", WHERE).splitlines()
    assert Path(place).is_relative_to(installed.environment)
    assert packages == ["packages ok"]
    assert installed.call("rankadaptor", "--version").strip() == f"rankadaptor {__version__}"


def test_the_commands_do_a_whole_job(installed, pico_model, pico_tokenizer):
    folder = installed.folder
    pico_model("llama", blocks=3).save_pretrained(folder / "model")
    pico_tokenizer.save_pretrained(folder / "model")
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in make_texts(60)))
    rows = [{"query": f"After {n} comes", "choices": [f" {n + 1}", " cat"], "gold": 0} for n in range(4)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "counting.yaml").write_text(COUNTING)
    settings = [word for setting in SHORT for word in ("--set", setting)]

    assert "wrote job.yaml" in installed.call("rankadaptor", "init", "job.yaml", "--model", "model")
    assert "recover" in installed.call("rankadaptor", "plan", "job.yaml", *settings)
    shown = installed.call("rankadaptor", "run", "job.yaml", *settings)
    document = json.loads((folder / "runs/job/result.json").read_text())
    result = document["result"]
    assert result["verdict"]["outcome"] in shown.lower()
    assert result["search"]["predictor"] == "meta"
    assert result["benchmarks"]["uniform"]["counting"]["n"] == 4
    assert document["run"]["commit"] == "unknown"  # no checkout is near
    assert "done" in installed.call("rankadaptor", "plan", "job.yaml", *settings)
    installed.call("rankadaptor", "report", "runs/job")
    assert {path.name for path in folder.iterdir()} == {
        "model", "texts.jsonl", "questions.jsonl", "counting.yaml", "job.yaml", "runs", "mlruns",
    }  # fmt: skip
    assert (folder / "mlruns" / "mlflow.db").is_file()


def test_the_example_of_the_readme_runs(installed, pico_model, pico_tokenizer):
    folder = installed.folder
    pico_model("llama", blocks=3).save_pretrained(folder / "pico")
    pico_tokenizer.save_pretrained(folder / "pico")
    (folder / "benchmarks.json").write_text(json.dumps({name: make_rows(name) for name in ("boolq", "piqa")}))
    making, loading = shrink_example(Path("pico"))
    (folder / "example.py").write_text(f"{BENCHMARKS}\n{making}\n{loading}")
    shown = installed.call("python", "example.py")
    assert any(outcome in shown.lower() for outcome in ("better", "no difference", "worse"))
    assert (folder / "out" / "adapter" / "adapter_model.safetensors").is_file()
