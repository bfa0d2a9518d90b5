"""The planned size of a GGUF file is its real one, and a sum over what was chosen."""

from __future__ import annotations

from dataclasses import replace

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rankadaptor.engine.file_plan import (
    Chosen,
    Field,
    count_entry_bytes,
    count_matrix_bytes,
    plan_attention,
    plan_file,
    plan_mlp,
)
from rankadaptor.engine.gguf_file import prepare_file, write_gguf
from rankadaptor.errors import InputError
from rankadaptor.model.families import BlockShape
from tests.engine.shapes import FAMILIES, build_uneven, empty

ANY_ROW = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "MXFP4")
HALVES = {"self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"), "mlp": ("gate_proj", "up_proj", "down_proj")}


@st.composite
def draw_files(draw):
    """Draw a family, widths, what is removed, and a type per half block and for the embedding."""
    blocks = draw(st.integers(1, 3))
    some = st.lists(st.integers(0, blocks - 1), unique=True)
    each = {"min_size": blocks, "max_size": blocks}
    kinds = st.sampled_from(ANY_ROW)
    halves = [f"model.layers.{index}.{half}" for index in range(blocks) for half in HALVES]
    return {
        "family": draw(st.sampled_from(FAMILIES)),
        "groups": draw(st.lists(st.integers(1, 4), **each)),
        "channels": draw(st.lists(st.integers(1, 96), **each)),
        "attention": draw(some),
        "mlp": draw(some),
        "kinds": {half: draw(kinds) for half in halves},
        "embedding": draw(kinds),
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=draw_files())
def test_the_planned_size_is_the_real_one_and_a_sum(pico_model, pico_tokenizer, tmp_path, drawn) -> None:
    model = build_uneven(pico_model, drawn["family"], groups=drawn["groups"], channels=drawn["channels"])
    empty(model, attention=drawn["attention"], mlp=drawn["mlp"])
    kinds = drawn["kinds"]
    types = {
        f"{half}.{linear}": kind for half, kind in kinds.items() for linear in HALVES[half.rpartition(".")[2]]
    }
    types["model.embed_tokens"] = drawn["embedding"]
    prepared = prepare_file(model, pico_tokenizer, types=types, default_type="Q8_0")
    shape, plan = prepared.shape, prepared.plan

    written = write_gguf(model, pico_tokenizer, tmp_path / "m.gguf", types=types, default_type="Q8_0")
    assert written.bytes == plan.bytes == (tmp_path / "m.gguf").stat().st_size

    # The dense model of the same blocks has the same constant, and each choice adds its own bytes to it.
    dense = replace(shape, blocks=tuple(BlockShape(i, 8, 4, 16, 96) for i in range(len(shape.blocks))))
    total = plan_file(dense, prepared.fields).fixed
    assert total == plan.fixed
    total += count_matrix_bytes(shape.vocabulary, shape.hidden, drawn["embedding"])
    total += 0 if shape.tied else count_matrix_bytes(shape.vocabulary, shape.hidden, "Q8_0")
    for index, (groups, channels) in enumerate(zip(drawn["groups"], drawn["channels"], strict=True)):
        left = 0 if index in drawn["attention"] else groups
        block = BlockShape(index, 2 * left, left, 16, 0 if index in drawn["mlp"] else channels)
        chosen = {half: Chosen({}, kinds[f"model.layers.{index}.{half}"]) for half in HALVES}
        planned = [*plan_attention(shape, block, chosen["self_attn"]), *plan_mlp(shape, block, chosen["mlp"])]
        total += sum(tensor.bytes for tensor in planned)
    assert total == plan.bytes


def test_the_header_can_be_that_of_a_larger_model(pico_model, pico_tokenizer, tmp_path) -> None:
    large, small = (build_uneven(pico_model, "llama", groups=[4] * n, channels=[96] * n) for n in (12, 3))
    header = prepare_file(large, pico_tokenizer).plan.header
    file = tmp_path / "m.gguf"
    written = write_gguf(small, pico_tokenizer, file, header=header, name="é" * 999, description="x" * 999)
    reader = gguf.GGUFReader(file)
    assert reader.data_offset == header
    assert written.bytes == prepare_file(small, pico_tokenizer, header=header).plan.bytes
    assert len(reader.fields["general.name"].contents()) == 200
    needed = prepare_file(small, pico_tokenizer).plan.header
    assert needed < header
    for wrong in (needed - 32, header + 1):
        with pytest.raises(InputError, match=f"header={wrong}: this file needs at least {needed} bytes"):
            prepare_file(small, pico_tokenizer, header=wrong)


def test_entries_take_what_gguf_writes(tmp_path) -> None:
    import numpy as np

    values = {"string": "é!", "uint32": 7, "float32": 0.5, "bool": True}
    arrays = {"strings": ["", "ab", "é"], "int32s": [1, 2, 3], "float32s": [0.5]}
    fields = [Field(f"key.{kind}", kind, value) for kind, value in (values | arrays).items()]
    writer = gguf.GGUFWriter(tmp_path / "f.gguf", "x")
    for field in fields:
        writer.add_key_value(
            field.key,
            field.value,
            gguf.GGUFValueType.ARRAY if field.kind in arrays else gguf.GGUFValueType[field.kind.upper()],
        )
    writer.add_tensor_info("a.weight", (3, 4), np.dtype(np.float32), 48)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    own = Field("general.architecture", "string", "x")
    planned = 24 + sum(field.bytes for field in [own, *fields]) + count_entry_bytes("a.weight", 2)
    assert (tmp_path / "f.gguf").stat().st_size == planned


def test_types_that_do_not_fit_and_names_that_do_not_exist_are_refused(pico_model, pico_tokenizer) -> None:
    llama = build_uneven(pico_model, "llama")
    tied = build_uneven(pico_model, "qwen3")
    cases = [
        (
            llama,
            {"model.layers.1.self_attn.q_proj": "Q4_K"},
            r"layers\.1\.self_attn\.q_proj: Q4_K .*256.* have 32",
        ),
        (
            llama,
            {"model.layers.9.mlp.up_proj": "Q4_0"},
            r"no matrix of this model is called model\.layers\.9",
        ),
        (llama, {"lm_head": "Q3_0"}, r"no tensor type 'Q3_0'"),
        (tied, {"lm_head": "Q4_0"}, r"lm_head is tied to model\.embed_tokens"),
        (
            tied,
            {"model.layers.0.self_attn.v_proj": "Q8_0"},
            r"blk\.0\.attn_qkv.* one type, not .*v_proj: Q8_0",
        ),
    ]
    for model, types, message in cases:
        with pytest.raises(InputError, match=message):
            prepare_file(model, pico_tokenizer, types=types)
