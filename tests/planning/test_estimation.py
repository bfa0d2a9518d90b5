"""Plans: sizes from config.json alone, counts that follow the run file, sane times and memory."""

from __future__ import annotations

import json

import pytest

from rankadaptor.config import build_run, dump_run
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.planning import estimate
from rankadaptor.planning.estimation import PROCESS_SECONDS
from rankadaptor.planning.rates import choose_rate, measure_matmul
from rankadaptor.planning.shape import KIT_CONFIGS, parse_shape, read_shape, shrink_shape
from rankadaptor.runtime import BFLOAT16

SMALL = {"space": {"like_uniform": 2}, "recover": {"steps": 10}, "search": {"evaluations": 4, "steps": 5}}


@pytest.fixture
def pico_folder(tmp_path, pico_model, pico_tokenizer):
    folder = tmp_path / "pico"
    pico_model().save_pretrained(folder)
    pico_tokenizer.save_pretrained(folder)
    return folder


def find_step(plan, name):
    return next(step for step in plan.steps if step.name == name)


def test_the_kit_s_sizes_are_exact():
    shape = parse_shape(KIT_CONFIGS["smollm2-135m"], source="kit")
    assert shape.parameters == 134_515_008
    assert len(shape.linears) == 7 * 30


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_sizes_from_config_json_are_the_model_s(family, tmp_path, pico_model):
    model = pico_model(family, blocks=2)
    model.save_pretrained(tmp_path)
    assert read_shape(str(tmp_path)).parameters == model.num_parameters()


def test_lengths_beyond_the_positions_are_refused(pico_folder):
    base = {"model": str(pico_folder), **SMALL}
    for given in ({"recipe": {"sequence_length": 513}}, {"prune": {"calibration": {"length": 513}}}):
        with pytest.raises(InputError, match="length=513: more than the 512 positions"):
            estimate(build_run({**base, **given}))


def test_linears_are_those_of_the_model(tmp_path, pico_model):
    from rankadaptor.model.families import describe_linears

    model = pico_model(blocks=2)
    model.save_pretrained(tmp_path)
    told = {(linear.name, linear.in_features, linear.out_features) for linear in describe_linears(model)}
    read = {
        (linear.name, linear.in_features, linear.out_features) for linear in read_shape(str(tmp_path)).linears
    }
    assert read == told


def test_a_pruned_folder_is_read_as_pruned(tmp_path, pico_model, pico_tokenizer):
    from rankadaptor.model import save_pruned
    from rankadaptor.pruning import prune

    pruned = prune(pico_model(), pico_tokenizer, ratio=0.3, importance="l2", skip_first=1)
    save_pruned(pruned, pico_tokenizer, tmp_path)
    assert read_shape(str(tmp_path)).parameters == pruned.num_parameters()


def test_shrinking_foretells_local_pruning(tmp_path, pico_model, pico_tokenizer):
    from rankadaptor.pruning import prune

    model = pico_model()
    model.save_pretrained(tmp_path)
    section = build_run({"prune": {"ratio": 0.5, "importance": "l2"}}).prune
    foretold = shrink_shape(read_shape(str(tmp_path)), section).parameters
    pruned = prune(model, pico_tokenizer, ratio=0.5, importance="l2")
    assert foretold == pytest.approx(pruned.num_parameters(), rel=0.1)


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Forty rows in the working folder: a plan looks at what it is told of."""
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    row = json.dumps({"prompt": "What follows?", "response": " Four."})
    (working / "rows.jsonl").write_text(f"{row}\n" * 40)


def test_counts_follow_the_run_file(pico_folder, rows):
    plan = estimate(
        build_run(
            {
                **SMALL,
                "model": str(pico_folder),
                "recipe": {
                    "batch_size": 4,
                    "micro_batch_size": 4,
                    "sequence_length": 16,
                    "tune": {"learning_rates": [1e-3, 1e-2]},
                },
                "data": {"train": "rows.jsonl", "held_out_rows": 10},
                "confirm": {"seeds": 3},
                "evaluate": {"benchmarks": ["piqa"], "limit": 10},
            }
        )
    )
    assert [step.name for step in plan.steps] == [
        "prepare",
        "tune",
        "search",
        "confirm",
        "recover",
        "evaluate",
    ]
    assert [step.runs for step in plan.steps] == [0, 2, 4, 6, 2, 4]  # uniform's trial comes from the tuning
    assert find_step(plan, "search").tokens == 4 * (5 * 4 * 16 + 10 * 16)
    assert plan.tokens == sum(step.tokens for step in plan.steps)
    assert plan.seconds == plan.seconds_left > 0
    assert json.loads(json.dumps(plan.to_json()))["totals"]["runs"] == 18


def test_a_start_along_the_gradient_is_paid_for(pico_folder, rows):
    def make(initialisation, model=str(pico_folder)):
        recipe = {"initialisation": initialisation, "sequence_length": 16, "tune": None}
        data = {"train": "rows.jsonl", "held_out_rows": 10}
        return estimate(build_run({**SMALL, "model": model, "recipe": recipe, "data": data}))

    plain, aimed = make("random"), make("gradient")
    runs = find_step(plain, "search").runs
    assert find_step(aimed, "search").tokens == find_step(plain, "search").tokens + runs * 64 * 16
    assert find_step(aimed, "search").seconds > find_step(plain, "search").seconds
    # All gradients of the frozen linears are held at once: more than a fifth of a gigabyte on SmolLM2.
    held = [find_step(make(each, "kit:smollm2-135m"), "search").peak_bytes for each in ("random", "gradient")]
    assert held[1] - held[0] > 2e8


def test_a_teacher_is_paid_for(pico_folder, rows):
    def make(model=str(pico_folder), **changes):
        recipe = {"sequence_length": 16, "tune": None, **changes}
        data = {"train": "rows.jsonl", "held_out_rows": 10}
        return estimate(build_run({**SMALL, "model": model, "recipe": recipe, "data": data}))

    plain, taught = make(), make(loss="distill")
    for name in ("search", "confirm", "recover"):
        assert find_step(taught, name).seconds > find_step(plain, name).seconds
        assert find_step(taught, name).tokens == find_step(plain, name).tokens
    assert any("model before pruning" in note for note in taught.assumptions)
    kit = [
        find_step(make("kit:smollm2-135m", **changes), "recover")
        for changes in ({}, {"loss": "mixed"}, {"hidden_weight": 1.0, "loss": "mixed"})
    ]
    own = kit[0].seconds - PROCESS_SECONDS
    assert 1.3 < (own + kit[1].seconds - kit[0].seconds) / own < 1.9  # a forward pass of the dense model more
    assert kit[1].peak_bytes > kit[0].peak_bytes + 2 * 134e6  # its weights, in bfloat16 at least
    assert kit[2].peak_bytes > kit[1].peak_bytes


@pytest.mark.parametrize("tune", [None, {"learning_rates": [1e-3, 1e-2], "steps": 7}])
def test_the_search_measures_uniform_where_the_tuning_did_not(pico_folder, tune):
    plan = estimate(build_run({**SMALL, "model": str(pico_folder), "recipe": {"tune": tune}}))
    assert find_step(plan, "search").runs == 5


def test_the_budget_is_that_of_the_space(pico_folder):
    plan = estimate(build_run({**SMALL, "model": str(pico_folder), "prune": None}))
    assert plan.adapter_parameters == 2 * sum(
        linear.in_features + linear.out_features for linear in read_shape(str(pico_folder)).linears
    )
    assert plan.slots == 2 * 3
    assert plan.pruned_parameters == plan.parameters


def test_steps_that_are_on_disk_are_done(pico_folder, tmp_path):
    values = {**SMALL, "model": str(pico_folder), "output": str(tmp_path / "out")}
    (tmp_path / "out" / "steps").mkdir(parents=True)
    (tmp_path / "out" / "steps" / "prepare.json").write_text("{}")
    (tmp_path / "out" / "run.yaml").write_text(dump_run(build_run(values)))
    plan = estimate(build_run(values))
    assert find_step(plan, "prepare").done
    assert plan.seconds_left == pytest.approx(plan.seconds - find_step(plan, "prepare").seconds)


@pytest.mark.parametrize(("dtype", "growth"), [("float32", 2.0), ("bfloat16", 1.3)])
def test_more_work_takes_longer_and_larger_batches_more_memory(dtype, growth):
    def make(**values):
        return estimate(build_run({"compute": {"device": "cpu", "dtype": dtype}, **values}))

    base, longer = make(), make(recover={"steps": 1600})
    assert find_step(longer, "recover").seconds > 3 * find_step(base, "recover").seconds
    large = {"batch_size": 32, "micro_batch_size": 32}
    heavier = make(recipe=large)
    assert heavier.peak_bytes > growth * base.peak_bytes
    assert make(recipe={**large, "gradient_checkpointing": True}).peak_bytes < heavier.peak_bytes


def test_an_automatic_precision_is_planned_as_the_run_will_choose_it(monkeypatch):
    plans = {}
    for said in ("native", "emulated"):
        monkeypatch.setenv(BFLOAT16, said)
        plans[said] = estimate(build_run({"compute": {"device": "cpu"}}))
    assert plans["native"].peak_bytes < plans["emulated"].peak_bytes
    assert plans["native"].seconds < plans["emulated"].seconds
    assert any("bfloat16" in line for line in plans["native"].assumptions)
    assert any("float32" in line for line in plans["emulated"].assumptions)


def test_two_workers_halve_independent_trials(monkeypatch):
    monkeypatch.setattr("rankadaptor.runtime.count_cores", lambda: 2)
    alone, beside = (estimate(build_run({"compute": {"workers": workers}})) for workers in (1, 2))
    assert find_step(beside, "confirm").seconds < 0.7 * find_step(alone, "confirm").seconds
    assert find_step(beside, "search").seconds == find_step(alone, "search").seconds  # one proposal at a time


def test_too_many_threads_are_remarked_on():
    plan = estimate(build_run({"compute": {"workers": 500}}))
    assert any("exceed" in line for line in plan.assumptions)


def test_only_this_run_s_steps_are_done(tmp_path):
    config = build_run({"output": str(tmp_path / "out")})
    (tmp_path / "out" / "steps").mkdir(parents=True)
    (tmp_path / "out" / "steps" / "tune.json").write_text("{}")
    (tmp_path / "out" / "run.yaml").write_text(dump_run(config))
    assert find_step(estimate(config), "tune").done
    other = config.model_copy(update={"seed": 7})
    plan = estimate(other)
    assert not any(step.done for step in plan.steps)
    assert any("holds another run" in line for line in plan.assumptions)


@pytest.mark.parametrize(("every", "scored"), [(None, 6), (200, 3), (400, 2), (150, 4)])
def test_the_recovery_is_scored_as_often_as_it_is(every, scored):
    def count_tokens(value):
        plan = estimate(build_run({"recover": {"steps": 400, "evaluate_every": value}}))
        return find_step(plan, "recover").tokens

    one = (count_tokens(1) - count_tokens(400)) / 399
    assert count_tokens(every) == pytest.approx(count_tokens(400) + (scored - 2) * one, rel=1e-6)


def test_exponents_are_tried_at_the_chosen_rate_alone():
    given = {"learning_rates": [1e-3, 3e-3, 1e-2], "scaling_exponents": [0.0, 0.5, 1.0]}
    plan = estimate(build_run({"recipe": {"tune": given}}))
    assert find_step(plan, "tune").runs == 3 + 2 * 3


def test_a_rate_tuned_on_short_runs_is_remarked_on():
    def list_advice(steps):
        config = build_run({"recipe": {"tune": {"steps": steps}}, "recover": {"steps": 400}})
        return [line for line in estimate(config).assumptions if "recipe.tune.steps=400" in line]

    (advice,) = list_advice(None)
    assert advice.startswith("Learning rates are tried on 24 of 400 steps")
    assert len(list_advice(200)) == 1
    assert list_advice(400) == list_advice(500) == []


def test_workers_without_a_core_are_not_counted(monkeypatch):
    monkeypatch.setattr("rankadaptor.runtime.count_cores", lambda: 2)
    two, many = (estimate(build_run({"compute": {"workers": workers}})) for workers in (2, 500))
    assert find_step(two, "confirm").seconds == find_step(many, "confirm").seconds


@pytest.mark.parametrize(
    ("values", "error", "what"),
    [
        ({"space": {"blocks": [0, 99]}}, InputError, "29"),
        ({"space": {"parameters": 10, "ranks": [1, 2]}}, BudgetError, "10"),
        ({"space": {"ranks": [8, 100_000]}}, BudgetError, "100000"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_anything_is_loaded(values, error, what):
    with pytest.raises(error, match=what):
        estimate(build_run(values))


def test_an_unsupported_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba", "hidden_size": 8}))
    with pytest.raises(InputError, match=r"mamba.*llama"):
        estimate(build_run({"model": str(tmp_path)}))


def test_a_configuration_without_sizes_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(InputError, match="sizes"):
        read_shape(str(tmp_path))


def test_a_hub_model_that_cannot_be_fetched_names_the_remedy():
    with pytest.raises(InputError, match="kit:smollm2-135m"):
        read_shape("no-such-owner/no-such-model")


def test_rates():
    compute = build_run({"compute": {"device": "cpu", "dtype": "float32"}}).compute
    guessed = choose_rate(compute)
    assert guessed.bytes_per_weight == 4
    assert "typical" in guessed.source
    assert measure_matmul(seconds=0.05, size=256) > 1e8
    assert "measured" in choose_rate(compute, measure=True, seconds=0.05).source
