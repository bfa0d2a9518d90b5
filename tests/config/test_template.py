"""The commented run file that `init` writes."""

from __future__ import annotations

import re

from rankadaptor.config import RunConfig, build_run, load_run, write_template
from rankadaptor.config.faults import list_keys


def test_a_written_template_loads_to_an_equal_run(tmp_path):
    config = build_run(
        {"name": "x", "space": {"ranks": [0, 2, 4], "like_uniform": 4, "pinned": {1: 2}}, "seed": 3}
    )
    path = tmp_path / "run.yaml"
    path.write_text(write_template(config), encoding="utf-8")
    assert load_run(path) == config


def test_a_template_without_pruning_loads(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(write_template(build_run({"prune": None, "recipe": {"tune": None}})), encoding="utf-8")
    config = load_run(path)
    assert config.prune is None
    assert config.recipe.tune is None


def test_every_key_stands_in_the_template_with_a_comment():
    text = write_template(build_run({}))
    for key, field in list_keys(RunConfig).items():
        assert field.description, key
        assert re.search(rf"^[ #]*{key.rpartition('.')[2]}:", text, flags=re.MULTILINE), key
        assert field.description.split()[0] in text
