"""The table of methods, in the documentation and in run files."""

from __future__ import annotations

import json
import re

import pytest

from rankadaptor.cli.app import main
from rankadaptor.config import build_run, load_job
from rankadaptor.config.loading import build_compression
from rankadaptor.errors import ConfigError, InputError
from rankadaptor.methods import METHODS, find_method
from tests.documents import ROOT

PAGE = ROOT / "docs/how-to/choose-a-method.md"
LIMITS = {"size": "60MB"}


def test_the_page_has_the_table_of_methods():
    text = PAGE.read_text("utf-8")
    for name, method in METHODS.items():
        rates = ", ".join(f"{rate:g}" for rate in method.learning_rates)
        merged = "yes" if method.mergeable else "no"
        cells = (f"`{name}`", method.title, method.trains, merged, method.saved, rates, method.when)
        row = f"| {' | '.join(cells)} |"
        assert row in text, f"write into {PAGE.name}: {row}"
    assert len(re.findall(r"^\| `", text, re.MULTILINE)) == len(METHODS)


def test_rates_ascend_and_the_middle_one_is_taken():
    for method in METHODS.values():
        assert list(method.learning_rates) == sorted(set(method.learning_rates))
        assert method.learning_rate == method.learning_rates[1]


def test_an_unknown_name_lists_the_allowed_ones():
    with pytest.raises(InputError, match="allowed are lora, rslora, dora, adalora, ia3, prompt_tuning"):
        find_method("lorra")
    with pytest.raises(ConfigError, match="full_frozen_embeddings"):
        build_run({"recover": {"method": "lorra"}})


def test_a_method_brings_its_own_rates_and_given_ones_stay():
    assert build_compression({"limits": LIMITS}).recover.tried_rates == (1e-3, 3e-3)
    full = build_compression({"limits": LIMITS, "recover": {"method": "full"}})
    assert full.recover.tried_rates == METHODS["full"].learning_rates
    given = {"method": "full", "learning_rates": [1e-5]}
    assert build_compression({"limits": LIMITS, "recover": given}).recover.tried_rates == (1e-5,)
    run = build_run({"recover": {"method": "rslora"}})
    assert run.tried_rates == METHODS["rslora"].learning_rates
    assert run.learning_rate == METHODS["rslora"].learning_rate
    assert build_run({}).tried_rates == METHODS["lora"].learning_rates
    assert build_run({"recover": {"method": "qlora"}}).quantise == "nf4"


def test_runs_keep_their_digest_unless_they_name_another_method():
    plain = build_compression({"limits": LIMITS})
    assert plain.digest() == build_compression({"limits": LIMITS, "recover": {"method": "lora"}}).digest()
    assert plain.digest() != build_compression({"limits": LIMITS, "recover": {"method": "ia3"}}).digest()
    assert "recover.method" not in plain.list_inputs()
    assert "recover.method" not in build_run({}).list_inputs()


@pytest.mark.parametrize(
    ("recover", "reason"),
    [
        ({"method": "prefix_tuning"}, "cannot be merged into the weights"),
        ({"method": "prompt_tuning"}, "cannot be merged into the weights"),
        ({"method": "bottleneck"}, "activation function"),
        ({"method": "qlora"}, "rounds them once"),
        ({"method": "adalora", "finalist_steps": 8}, "at least 10 steps"),
        ({"method": "adalora", "ranks": "searched"}, "chooses the rank"),
        ({"method": "full", "ranks": "searched"}, "has no ranks"),
    ],
)
def test_compressions_refuse_what_does_not_fit(recover, reason):
    with pytest.raises(ConfigError, match=reason):
        build_compression({"limits": LIMITS, "recover": recover})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"recover": {"method": "ia3"}}, "has no ranks"),
        ({"recover": {"method": "adalora"}}, "chooses the rank"),
        ({"recover": {"method": "full"}}, "has no ranks"),
        ({"recover": {"method": "qlora"}, "compute": {"quantise": "int8"}}, "int8"),
        (
            {"recover": {"method": "qlora"}, "recipe": {"initialisation": "gradient"}},
            "quantised ones have none",
        ),
        ({"recover": {"method": "dora"}, "measure": {"kind": "elastic"}}, "belong to one"),
        ({"recover": {"method": "rslora"}, "recipe": {"scaling_exponent": 0.5}}, "how the scale falls"),
    ],
)
def test_rank_searches_refuse_what_does_not_fit(values, reason):
    with pytest.raises(ConfigError, match=reason):
        build_run(values)


def test_the_command_counts_parameters(capsys):
    assert main(["methods", "--rank", "4", "--json"]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(METHODS)
    assert rows["full"]["parameters"] == 134_515_008
    assert rows["prompt_tuning"]["parameters"] == 20 * 576
    assert not any(row["rates_from"][-1] == "_" or "[" in row["rates_from"] for row in rows.values())
    assert main(["methods"]) == 0
    assert "prefix_tuning" in capsys.readouterr().out


def test_plans_name_the_method_and_its_parameters(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("{recover: {method: dora}}", encoding="utf-8")
    assert load_job(path).recover.method == "dora"
    counts = []
    for given in ([], ["--set", "recover.method=lora"]):
        assert main(["plan", str(path), "--json", *given]) == 0
        counts.append(json.loads(capsys.readouterr().out)["adapter_parameters"])
    assert counts[0] > counts[1]
    path.write_text("{job: compress, limits: {size: 60MB}, recover: {method: ia3}}", encoding="utf-8")
    assert main(["plan", str(path), "--json"]) == 0
    assert "(IA)³: 57,600 parameters" in json.loads(capsys.readouterr().out)["space"]["recovery"]
