from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rankadaptor.components.composition import build_space
from rankadaptor.corpus import Record
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.predictor import make_predictor
from rankadaptor.space import Allocation, Space

SIZES = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}


@pytest.fixture(scope="module")
def model(pico_model):
    return pico_model("llama", 2, tie_word_embeddings=True, **SIZES)


def test_slots_options_and_the_dense_reference(model, pico_model) -> None:
    space = build_space(model, precision=("Q8_0", "Q4_0"), embedding=("F16", "Q8_0"), levels=2)
    assert [slot.name for slot in space.slots] == [
        "fixed", "embedding", "block0.attention", "block0.mlp", "block1.attention", "block1.mlp",
    ]  # fmt: skip
    assert space.slots[1].options == ("Q8_0", "F16")
    mlp = space.slots[3]
    assert mlp.options == ((0, "none"), (64, "Q4_0"), (64, "Q8_0"), (128, "Q4_0"), (128, "Q8_0"))
    assert space.reference("dense").values == ("kept", "F16", *[(2, "Q8_0"), (128, "Q8_0")] * 2)
    assert space.reference().cost("parameters") == model.num_parameters()
    assert mlp.costs_in("parameters")[:2] == (0, 3 * 64 * 64 + 64)
    bytes_of = {slot.name: slot.costs_in("bytes") for slot in space.slots}
    assert bytes_of["block1.attention"][0] == 0
    assert bytes_of["block0.mlp"][0] == bytes_of["block1.mlp"][0] == 4 * 64 + 3 * 32 * 64 * 18 // 32  # zeros
    assert bytes_of["block0.mlp"][1] == 4 * 64 + 3 * 64 * 64 * 18 // 32
    assert Space.from_json(space.to_json()) == space
    narrow = build_space(model, width=False, attention=False, depth=False, precision="Q4_0")
    assert [len(slot.options) for slot in narrow.slots] == [1] * 6
    untied = build_space(pico_model("llama", 2, **SIZES), precision="Q4_0")
    assert (untied.slots[-1].name, untied.slots[-1].modules) == ("output", ("lm_head",))
    assert untied.reference().cost("parameters") == pico_model("llama", 2, **SIZES).num_parameters()


def test_types_that_do_not_fit_are_left_out_or_refused(pico_model, caplog) -> None:
    model = pico_model("llama", 1)  # 16 columns a KV group, hidden size 32
    space = build_space(model, precision=("F16", "Q4_0"))
    attention = space.slots[2]
    assert attention.options == ((0, "none"), (1, "F16"), (2, "Q4_0"), (2, "F16"))
    assert "Q4_0 is not offered for attention of 1 KV groups" in caplog.text
    assert "o_proj has 16 inputs, Q4_0 needs a multiple of 32" in caplog.text
    with pytest.raises(InputError, match=r"embedding: none of the types Q4_K fits rows of 32\. Add F16"):
        build_space(model, precision="Q4_K")
    with pytest.raises(InputError, match=r"block0\.attention: none of the types A4G64 fits.*Add F16"):
        build_space(model, precision="A4G64", embedding="F16")


def test_models_without_a_file_have_no_bytes(pico_model) -> None:
    model = pico_model("qwen3", 1, **SIZES)  # with an output head of its own
    space = build_space(model, precision="Q4_0", limits={"parameters": "90%"})
    assert "bytes" not in space.slots[2].resources
    with pytest.raises(InputError, match=r"limit on 'bytes'.*Qwen3 with an output head of its own"):
        build_space(model, limits={"bytes": "1 MB"})


def test_a_latency_model_adds_the_time_of_each_part(model) -> None:
    seen = []

    class PerWeight:
        """A time for every weight of the file, and for every head."""

        def time_part(self, part, matrices, *, heads):
            seen.append(part)
            weights = sum(rows * columns for rows, columns, _ in matrices) + 100 * heads
            return {"prompt_nanoseconds": weights * 0.5, "generate_nanoseconds": weights * 2.0}

    space = build_space(model, precision="Q4_0", latency_model=PerWeight(), limits={"latency": "0.7x"})
    assert [limit.resource for limit in space.limits] == ["prompt_nanoseconds", "generate_nanoseconds"]
    dense = space.reference()
    weights = sum(value.numel() for value in model.parameters() if value.ndim == 2)
    assert dense.cost("generate_nanoseconds") == 2 * (weights + 2 * 4 * 100)
    assert space.limits[0].bound == round(0.7 * dense.cost("prompt_nanoseconds"))
    assert set(seen) == {"fixed", "output", "attention", "mlp"}  # the embedding is the output head


def test_limits_are_read_as_people_write_them(model) -> None:
    dense = build_space(model).reference()
    size, parameters = dense.cost("bytes"), dense.cost("parameters")
    for given, bound in (
        ({"bytes": "0.5 MB"}, 500_000),
        ({"bytes": "400kB"}, 400_000),
        ({"bytes": "300 KiB"}, 307_200),
        ({"bytes": 250_000.0}, 250_000),
        ({"bytes": "0.9x"}, int(size * 0.9)),
        ({"parameters": "80%"}, int(parameters * 0.8)),
        ({"parameters": "0.05M"}, 50_000),
        ({"macs": "30000"}, 30_000),
    ):
        (limit,) = build_space(model, limits=given).limits
        assert (limit.resource, limit.bound) == (next(iter(given)), bound)
    both = build_space(model, limits={"bytes": "90%", "parameters": "80%"})
    assert [limit.resource for limit in both.limits] == ["bytes", "parameters"]
    drawn = both.sample_choices(50, 0)
    assert all((both.sum_costs(drawn, limit.resource) <= limit.bound).all() for limit in both.limits)


@pytest.mark.parametrize(
    ("limits", "complaint"),
    [
        ({"bytes": "a few"}, r"'a few' cannot be read.*'60 MB'.*'80%'"),
        ({"bytes": "0 MB"}, "cannot be read"),
        ({"macs": True}, "cannot be read"),
        ({"bytes": "150%"}, "at most 1"),
        ({"parameters": "60 MB"}, "cannot be read"),
        ({"memory": "60 MB"}, r"limit on 'memory': this space counts bytes, parameters, macs"),
        ({"latency": "0.7x"}, "Give a latency_model"),
        ({"bytes": "5 kB"}, r"the embedding and what is fixed alone need .*nearest possible limit is"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(model, limits, complaint) -> None:
    with pytest.raises(InputError, match=complaint):
        build_space(model, limits=limits)


def test_a_limit_below_the_smallest_choices_names_the_nearest(model) -> None:
    space = build_space(model, depth=False)
    least = sum(min(slot.costs_in("parameters")) for slot in space.slots)
    with pytest.raises(BudgetError, match=rf"smallest choice.*nearest possible limit is {least:,}"):
        build_space(model, depth=False, limits={"parameters": least - 1})
    assert build_space(model, depth=False, limits={"parameters": least}).sample(3, seed=0)


def test_limits_that_exclude_each_other_name_what_is_possible(model) -> None:
    """Here every option that saves bytes costs as much of the other resource."""
    from rankadaptor.components.composition.limits import read_limits

    space = build_space(model, precision=("Q8_0", "Q4_0"))
    traded = []
    for slot in space.slots:
        costs = slot.costs_in("bytes")
        others = tuple(max(costs) - cost for cost in costs)
        traded.append(dataclasses.replace(slot, costs=(("bytes", costs), ("macs", others))))
    fixed = space.slots[0].costs_in("bytes")[0]
    changes = sum(max(slot.costs_in("bytes")) for slot in space.slots) - fixed
    limits = {"bytes": fixed + changes // 2, "macs": changes // 3}
    with pytest.raises(BudgetError, match=r"not all at once.*bytes [\d,]+ instead of [\d,]+ or macs"):
        read_limits(limits, traded, space.origin)
    found = read_limits(limits | {"macs": changes}, traded, space.origin)
    assert [limit.bound for limit in found] == [fixed + changes // 2, changes]


def test_search_and_predictors_take_the_space_as_it_is(model) -> None:
    space = build_space(model, limits={"bytes": "70%", "parameters": "80%"})
    allocations = space.sample(40, seed=0)
    records = [
        Record(
            setting="pico", values=allocation.values, source="slice", seed=0, steps=0, fidelity=0.0,
            metrics={"loss": 4.0 - allocation.cost("macs") / 1e5, "loss_reference": 3.0},
            costs={"bytes": allocation.cost("bytes"), "tokens": 20},
        )
        for allocation in allocations
    ]  # fmt: skip
    predictor = make_predictor("ridge").update(space, records[:30])
    predicted = predictor.predict(space, allocations[30:]).mean
    assert np.corrcoef(predicted, [record.gain for record in records[30:]])[0, 1] > 0.5
    assert Allocation.from_json(allocations[0].to_json(), space) == allocations[0]
