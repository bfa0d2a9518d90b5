"""The latency model: it finds the times of parts again, and what was measured is not measured twice."""

from __future__ import annotations

import json

import pytest

from rankadaptor import InputError
from rankadaptor.components.composition import build_space
from rankadaptor.engine.file_plan import plan_file
from rankadaptor.engine.model_fields import read_shape
from rankadaptor.engine.session import Engine
from rankadaptor.measure import LatencyModel, fit_latency
from rankadaptor.measure.latency import fit_rates, read_timings
from rankadaptor.measure.latency_probes import ProbeSettings, Timing
from tests.engine.shapes import build_uneven, empty

TRUE = {
    "Q8_0": {"attention": 0.03, "mlp": 0.02, "output": 0.05},
    "Q4_0": {"attention": 0.02, "mlp": 0.01, "output": 0.03},
}
CONSTANTS = {"attention": 900.0, "mlp": 400.0}
BASE = {"prompt": 1e-4, "generate": 2e-4}
PROBES = {
    "dense": (6000, 40_000, 1000, 8, 8), "narrow MLP": (6000, 20_000, 1000, 8, 8),
    "few heads": (2000, 40_000, 1000, 8, 8),
    "no attention": (0, 40_000, 1000, 0, 8),
    "no MLP": (6000, 0, 1000, 8, 0), "output head": (750, 5000, 90_000, 1, 1),
}  # fmt: skip


def make_timings():
    timings = []
    for phase, slowness in (("prompt", 1.0), ("generate", 3.0)):
        for name, rates in TRUE.items():
            for probe, (attention, mlp, output, attentions, mlps) in PROBES.items():
                if phase == "prompt" and probe == "output head":
                    continue
                nanoseconds = (
                    rates["attention"] * attention + rates["mlp"] * mlp
                    + CONSTANTS["attention"] * attentions + CONSTANTS["mlp"] * mlps
                ) * slowness  # fmt: skip
                nanoseconds += rates["output"] * output if phase == "generate" else 0
                ratio = nanoseconds / (BASE[phase] * 1e9)
                timings.append(Timing(phase, name, probe, attention, mlp, output, attentions, mlps, ratio))
    return timings


@pytest.fixture(scope="module")
def latency():
    rates, constants, errors = fit_rates(make_timings(), BASE, prompt=100)
    engine = Engine("1", "a test", "")
    return LatencyModel(engine, "a test", ProbeSettings(prompt=100), rates, constants, errors)


def test_the_times_of_parts_are_found_again(latency):
    assert max(latency.errors.values()) < 1e-6
    for name, rates in TRUE.items():
        for part, rate in rates.items():
            slowness = 1 if part == "output" else 3
            assert latency.rates["generate"][part][name] == pytest.approx(rate * slowness, rel=1e-4)
            wanted = rate / 100 if part == "output" else rate  # one head for a whole prompt
            assert latency.rates["prompt"][part][name] == pytest.approx(wanted, rel=1e-4)
    assert latency.constants["generate"] == pytest.approx(
        {part: 3 * each for part, each in CONSTANTS.items()}
    )
    assert latency.count_nanoseconds("mlp", 10_000, "q4_0", "generate") == 300
    assert latency.count_nanoseconds("embedding", 10_000, "Q4_0", "generate") == 0
    time = latency.time_part("attention", [(100, 64, "Q8_0"), (64, 100, "Q8_0")], heads=2)
    assert time == {"prompt_nanoseconds": (900 + 384), "generate_nanoseconds": (2700 + 1152)}
    assert latency.time_part("mlp", []) == {"prompt_nanoseconds": 0, "generate_nanoseconds": 0}
    assert latency.time_part("mlp", [(32, 500, "F16")])["prompt_nanoseconds"] == round(400 + 16_000 * 0.02)
    with pytest.raises(InputError, match=r"type F16 was not measured\. Measured are Q8_0, Q4_0\."):
        latency.time_part("mlp", [(320, 500, "F16")])
    with pytest.raises(InputError, match="kinds are attention, mlp, output, embedding"):
        latency.count_nanoseconds("norm", 1, "Q8_0", "prompt")


def test_a_file_is_the_sum_of_its_parts(latency, pico_model):
    shape = read_shape(empty(build_uneven(pico_model, "llama"), attention=[2], mlp=[1]))
    plan = plan_file(shape, [], types={"model.layers.0.mlp.down_proj": "Q4_0"}, default_type="Q8_0")
    found = latency.predict(shape, plan)
    parts = [
        ("attention", 0),
        ("attention", 1),
        ("mlp", 0),
        ("mlp", 1),
        ("mlp", 2),
    ]  # zeros for the MLP of block 1
    total = 0
    for part, block in parts:
        name = f"blk.{block}.{'attn' if part == 'attention' else 'ffn'}_"
        matrices = [
            (*tensor.shape, tensor.type)
            for tensor in plan.tensors if tensor.name.startswith(name) and len(tensor.shape) == 2
        ]  # fmt: skip
        total += latency.time_part(part, matrices)["generate_nanoseconds"]
    head = latency.count_nanoseconds("output", shape.vocabulary * shape.hidden, "Q8_0", "generate")
    assert found.generate == total + head
    assert 0 < found.prompt < found.generate


def test_a_space_counts_its_costs_with_it(latency, pico_model):
    model = pico_model("llama", 3, intermediate_size=128)
    space = build_space(model, precision=("Q4_0", "Q8_0"), limits={"latency": "0.8x"}, latency_model=latency)
    shape = read_shape(model)
    dense = latency.predict(shape, plan_file(shape, [], default_type="Q8_0"))
    (_, choices) = space.references[0]
    found = {
        name: sum(slot.costs_in(name)[choice] for slot, choice in zip(space.slots, choices, strict=True))
        for name in ("prompt_nanoseconds", "generate_nanoseconds")
    }
    assert found == {"prompt_nanoseconds": dense.prompt, "generate_nanoseconds": dense.generate}
    assert [limit.bound for limit in space.limits] == [int(0.8 * each) for each in found.values()]


def test_what_is_measured_is_kept_and_only_new_types_are_added(pico_model, tmp_path, caplog):
    model = pico_model("llama", 3, intermediate_size=128)
    quick = {"prompt": 16, "generated": 2, "rounds": 1, "home": tmp_path}
    first = fit_latency(model, ["Q8_0"], **quick)
    (path,) = (tmp_path / "latency").glob("*.json")
    content = path.read_text()
    assert fit_latency(model, ["Q8_0"], **quick) == first
    assert path.read_text() == content
    both = fit_latency(model, ["q4_0", "Q8_0"], **quick)
    assert (first.types, both.types) == (("Q8_0",), ("Q8_0", "Q4_0"))
    timings = json.loads(path.read_text())["timings"]
    assert timings[: len(json.loads(content)["timings"])] == json.loads(content)["timings"]
    shape = read_shape(model)
    for default in both.types:
        time = both.predict(shape, plan_file(shape, [], default_type=default))
        assert time.prompt > 0
        assert time.generate > 0
    path.write_text("{broken")
    assert read_timings(path) == ([], {})
    assert "measured again" in caplog.text


def test_bad_input_is_named(pico_model, tmp_path):
    model = pico_model("llama", 2)
    with pytest.raises(InputError, match="at least one type, and numbers of at least 1"):
        fit_latency(model, [], home=tmp_path)
    with pytest.raises(InputError, match="whole blocks of 256"):
        fit_latency(model, ["Q4_K"], home=tmp_path)
    assert not (tmp_path / "latency").exists()
