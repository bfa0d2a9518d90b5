"""What names a run, and what tells two runs apart."""

from __future__ import annotations

import pytest

from rankadaptor.config import build_run, describe_difference
from rankadaptor.config.sections import LossSection
from rankadaptor.errors import ConfigError


@pytest.mark.parametrize(
    "values",
    [
        {"name": "other"},
        {"output": "elsewhere"},
        {"track": {"enabled": False}},
        {"compute": {"workers": 4}},
        {"collect": {"allocations": 9}},
    ],
)
def test_what_changes_no_result_is_not_in_the_digest(values):
    assert build_run(values).digest() == build_run({}).digest()
    assert describe_difference(build_run({}), build_run(values)) == []


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"recover": {"steps": 500}}, "recover.steps 400 → 500"),
        ({"seed": 1}, "seed 0 → 1"),
        ({"compute": {"threads": 2}}, "compute.threads 1 → 2"),
        ({"data": {"train_rows": None}}, "data.train_rows 4000 → null"),
        ({"space": {"pinned": {3: 0}}}, "space.pinned null → {'3': 0}"),
    ],
)
def test_a_difference_is_named_and_changes_the_digest(values, line):
    old, new = build_run({}), build_run(values)
    assert describe_difference(old, new) == [line]
    assert old.digest() != new.digest()


def test_a_section_that_is_gone_is_named():
    lines = describe_difference(build_run({}), build_run({"recipe": {"tune": None}}))
    assert any(
        line.startswith("recipe.tune.learning_rates") and line.endswith("→ (absent)") for line in lines
    )


def test_the_digest_does_not_depend_on_how_a_value_was_written():
    assert build_run({"recover": {"steps": 400}}).digest() == build_run({}).digest()


def test_a_start_at_random_is_what_runs_had_before() -> None:
    explicit = {"recipe": {"initialisation": "random", "tune": {"initialisations": None}}}
    assert build_run(explicit).digest() == build_run({}).digest()
    assert build_run({"recipe": {"initialisation": "gradient"}}).digest() != build_run({}).digest()


def test_the_plain_loss_is_what_runs_had_before() -> None:
    assert not {f"recipe.{key}" for key in LossSection.model_fields} & build_run({}).list_inputs().keys()
    plain = {"loss": "plain", "temperature": 1.0, "distill_weight": 0.5, "hidden_weight": 0.0}
    assert build_run({"recipe": plain}).digest() == build_run({}).digest()
    for change in ({"loss": "distill"}, {"loss": "mixed", "distill_weight": 0.2}, {"hidden_weight": 0.1}):
        assert build_run({"recipe": change}).digest() != build_run({}).digest()


def test_a_run_whose_teacher_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"recipe\.loss.*distill.*prune is null"):
        build_run({"recipe": {"loss": "distill"}, "prune": None})
    with pytest.raises(ConfigError, match=r"recipe\.hidden_weight.*0\.5.*compute\.executor: local"):
        build_run({"recipe": {"hidden_weight": 0.5}, "compute": {"executor": "ray"}})
