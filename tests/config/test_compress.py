"""The run file of `compress`: written, read back, compared, and refused with a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from rankadaptor.config import (
    CompressConfig,
    build_compression,
    build_run,
    describe_difference,
    digest_steps,
    load_job,
    load_run,
    write_template,
)
from rankadaptor.config.limits import Share, read_parameters, read_share, read_size
from rankadaptor.config.sections import LossSection
from rankadaptor.errors import ConfigError, InputError

LIMITED = {"limits": {"size": "60MB"}}


def test_a_run_file_is_read_back_equal_and_belongs_to_its_job(tmp_path: Path):
    config = build_compression({**LIMITED, "recover": None, "data": {"text": ["kit:c4"]}})
    path = tmp_path / "run.yaml"
    path.write_text(write_template(config), encoding="utf-8")
    again = load_job(path)
    assert isinstance(again, CompressConfig)
    assert again == config
    assert again.digest() == config.digest()
    with pytest.raises(ConfigError, match="this command is for a rank search"):
        load_run(path)
    assert build_run({}).digest() != config.digest()
    with pytest.raises(ConfigError, match=r"given 'compres'; allowed are rank_search, compress"):
        load_job(path, ["job=compres"])


def test_limits_are_read_as_people_write_them():
    assert read_size("60MB") == read_size("60 mb") == read_size(60_000_000) == 60_000_000
    assert read_size("1.5 MiB") == 3 * 2**19
    assert read_share("70%", example="0.7x") == read_share("0.7x", example="0.7x") == Share(0.7)
    assert read_parameters("100M") == 100_000_000
    assert read_parameters("80%") == Share(0.8)
    assert Share(0.7).count(10) == 7
    for read, text in ((read_size, "small"), (read_size, "0MB"), (read_parameters, "many")):
        with pytest.raises(InputError, match="must be"):
            read(text)
    with pytest.raises(InputError, match=r"given '120%'; must be a share of the dense model"):
        read_share("120%", example="0.7x")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, r"limits: none is given\. Give at least one of size"),
        ({"limits": {"size": "tiny"}}, r"limits\.size: .*must be a file size such as 60MB"),
        ({"limits": {"latency": "1x"}}, r"limits\.latency: 1x is the dense model itself"),
        (
            {"limits": {"latency": "0.7x"}, "export": {"engine": False}},
            r"export\.engine: false turns off",
        ),
        (
            {
                "limits": {"parameters": "80%"},
                "choices": {"width": False, "attention": False, "depth": False},
            },
            r"types change no number of parameters",
        ),
        ({**LIMITED, "choices": {"types": ["Q8_0", "Q8_0"]}}, r"names Q8_0 twice"),
        ({**LIMITED, "data": {"text": ["kit:c5"]}}, r"data\.text: given 'kit:c5'.*Did you mean kit:c4\?"),
        (
            {**LIMITED, "recover": {"quantisation_aware": True, "method": "dora"}},
            r"only lora and rslora can be trained through the rounding of types",
        ),
        (
            {**LIMITED, "recover": {"quantisation_aware": "derived", "method": "dora"}},
            r"recover\.quantisation_aware.*given derived and dora",
        ),
        ({**LIMITED, "recover": {"quantisation_aware": "scaled"}}, r"recover\.quantisation_aware"),
        ({**LIMITED, "search": {"screen_sequences": 99}}, r"search\.screen_sequences: 99 are more than"),
    ],
)
def test_a_fault_names_its_key_and_what_to_do(values: dict[str, object], fault: str):
    with pytest.raises(ConfigError, match=fault):
        build_compression(values)


STOCK_FILES = {"stock_files", "stock"}


def test_other_limits_repeat_the_search_and_another_recovery_keeps_it():
    first, other = build_compression(LIMITED), build_compression({"limits": {"size": "45MB"}})
    assert describe_difference(first, other) == ["limits.size 60MB → 45MB"]
    before = digest_steps(first)
    recovered_stock = {"stock_recovered_files"}
    assert find_kept(before, other) == {"prepare", "speed", "scored_model"} | STOCK_FILES | recovered_stock
    longer = build_compression({**LIMITED, "recover": {"steps": 99}})
    searched = {"prepare", "speed", "scored_model", "sweep", "search", "baselines"}
    assert find_kept(before, longer) == searched | STOCK_FILES
    scored = build_compression({**LIMITED, "search": {"recovered_steps": 8}})
    assert find_kept(before, scored) == {"prepare", "speed", "stock_recovered_files"} | STOCK_FILES
    assert describe_difference(first, scored)[0] == "search.recovered_steps 0 → 8"


def test_other_references_repeat_no_recovery_of_what_stays():
    few = build_compression({**LIMITED, "references": ["uniform"]})
    before, steps = digest_steps(few), set(digest_steps(few))
    stock = build_compression({**LIMITED, "references": ["stock_recovered", "uniform", "stock"]})
    assert steps - find_kept(before, stock) == {
        "stock", "stock_recovered", "recoveries", "judge",
    }  # fmt: skip
    rules = build_compression({**LIMITED, "references": ["uniform", "taylor"]})
    kept = find_kept(before, rules)
    assert {"finalist_files", "reference_files", "stock_recovered_files"} | STOCK_FILES <= kept
    assert not {"baselines", "finalists", "recover", "judge"} & kept


def test_a_limit_on_latency_fixes_the_lengths_that_are_timed():
    limits = {"limits": {"latency": "0.7x"}}
    before = digest_steps(build_compression(limits))
    other = build_compression({**limits, "export": {"prompt": 64}})
    assert "sweep" not in find_kept(before, other)
    other = build_compression({**LIMITED, "export": {"prompt": 64}})
    assert "sweep" in find_kept(digest_steps(build_compression(LIMITED)), other)


def find_kept(before: Mapping[str, str], config: CompressConfig) -> set[str]:
    after = digest_steps(config)
    return {step for step in before if before[step] == after[step]}


def test_the_plain_loss_is_what_compressions_had_before() -> None:
    config = build_compression(LIMITED)
    assert not {f"recover.{key}" for key in LossSection.model_fields} & config.list_inputs().keys()
    plain = {"loss": "plain", "temperature": 1.0, "distill_weight": 0.5, "hidden_weight": 0.0}
    assert build_compression({**LIMITED, "recover": plain}).digest() == config.digest()
    aware = build_compression({**LIMITED, "recover": {"quantisation_aware": True}})
    assert aware.digest() != config.digest()
    derived = build_compression({**LIMITED, "recover": {"quantisation_aware": "derived"}})
    assert derived.digest() != aware.digest()
    assert (aware.recover.scales, derived.recover.scales) == ("fixed", "derived")
    assert "finalists" not in find_kept(digest_steps(config), aware)
    taught = build_compression({**LIMITED, "recover": {"loss": "distill"}})
    assert taught.digest() != config.digest()
    kept = find_kept(digest_steps(config), taught)
    assert kept == {"prepare", "speed", "scored_model", "sweep", "search", "baselines"} | STOCK_FILES
