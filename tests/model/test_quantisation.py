"""A quantised base loads, uneven or not, trains an adapter that is plain PEFT, and is never cut or saved."""

from __future__ import annotations

import ast
import importlib.util
import logging
import sys
from pathlib import Path

import pytest
import torch

import rankadaptor as ra
from rankadaptor.components.adapter.lora import attach_adapter
from rankadaptor.data import load_rows, tokenise_rows
from rankadaptor.errors import InputError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.model import describe_linears
from rankadaptor.model.identity import digest_model, holds_weights, identify_base
from rankadaptor.model.quantisation import is_quantised
from rankadaptor.training import fine_tune
from rankadaptor.training.shared_weights import share_weights

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
KINDS = ("int8", "nf4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pico_model, pico_tokenizer) -> Path:
    """A pruned pico model with blocks of different widths, in several shards."""
    path = tmp_path_factory.mktemp("quantised") / "uneven"
    model = pico_model("llama", 3, hidden_size=64, intermediate_size=128)
    pruned = ra.prune(model, pico_tokenizer, ratio=0.3, importance="l2", scope="global", skip_first=1)
    widths = {block.mlp.up_proj.out_features for block in pruned.model.layers}
    assert len(widths) > 1
    return ra.save_pruned(pruned, pico_tokenizer, path, max_shard_size="60KB")


def compute() -> ra.Compute:
    return ra.choose_compute(device="cpu", dtype="float32")


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_base_is_smaller_and_nearly_the_same(folder, kind) -> None:
    from peft.utils.integrations import dequantize_module_weight

    plain, _ = ra.load(folder, compute=compute())
    model, _ = ra.load(folder, compute=compute(), quantise=kind)
    assert is_quantised(model)
    assert not is_quantised(plain)
    for linear in describe_linears(plain):
        expected, module = plain.get_submodule(linear.name).weight, model.get_submodule(linear.name)
        if type(module) is torch.nn.Linear:  # bitsandbytes misreads such widths on a CPU
            assert kind == "nf4"
            assert linear.in_features % 64
            continue
        error = (dequantize_module_weight(module) - expected).norm() / expected.norm()
        assert 0 < error < {"int8": 0.01, "nf4": 0.12}[kind], linear
    tokens = torch.arange(3, 40)[None]
    with torch.no_grad():
        agree = model(tokens).logits.argmax(-1) == plain(tokens).logits.argmax(-1)
    assert agree.float().mean() > {"int8": 0.9, "nf4": 0.5}[kind]
    stored, whole = (
        sum(
            each.get_submodule(f"model.layers.2.{name}").weight.nbytes
            for name in ("mlp.up_proj", "mlp.gate_proj")
        )
        for each in (model, plain)
    )
    assert stored <= whole / {"int8": 4, "nf4": 8}[kind]
    assert (
        ra.RankSpace.from_model(model, like_uniform=2, slots="linear").limits
        == ra.RankSpace.from_model(plain, like_uniform=2, slots="linear").limits
    )


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_trains_on_it_and_is_plain_peft(folder, kind, pico_tokenizer, tmp_path) -> None:
    from peft import PeftModel

    model, _ = ra.load(folder, compute=ra.choose_compute(device="cpu", dtype="float32", quantise=kind))
    rows = load_rows([f"Row {number} comes before row {number + 1}." for number in range(16)])
    sequences = tokenise_rows(rows, pico_tokenizer, max_length=24)
    recipe = ra.Recipe(learning_rate=2e-2, batch_size=4, micro_batch_size=4, reference_rank=4)
    space = ra.RankSpace.from_model(model, like_uniform=4, slots="linear")
    adapter = attach_adapter(model, space.reference(), recipe, seed=0)
    before = measure_loss(adapter, sequences, compute=compute()).mean
    fine_tune(adapter, sequences, recipe=recipe, steps=12, seed=0, compute=compute())
    after = measure_loss(adapter, sequences, compute=compute()).mean
    assert after < before - 0.3
    adapter.save_pretrained(tmp_path)
    again, _ = ra.load(folder, compute=compute(), quantise=kind)
    loaded = PeftModel.from_pretrained(again, tmp_path).eval()
    assert measure_loss(loaded, sequences, compute=compute()).mean == pytest.approx(after, abs=1e-6)


@needs_bitsandbytes
def test_a_trial_leaves_a_quantised_model_as_it_was(folder, pico_tokenizer) -> None:
    model, _ = ra.load(folder, compute=compute(), quantise="nf4")
    measure = ra.ShortFineTune(
        model,
        pico_tokenizer,
        data=[f"Row {number} comes before row {number + 1}." for number in range(24)],
        recipe=ra.Recipe(batch_size=4, micro_batch_size=4, sequence_length=16, reference_rank=2),
        steps=2,
        held_out_rows=4,
        compute=compute(),
    )
    space = ra.RankSpace.from_model(model, like_uniform=2, slots="linear")
    before = measure.measure_pruned()
    record = measure(space.sample(1, seed=0)[0])
    assert record.status == "ok"
    assert measure.measure_pruned() == before


@needs_bitsandbytes
def test_no_processor_makes_bitsandbytes_pack_4_bit_weights_anew(folder, pico_tokenizer, monkeypatch) -> None:
    """Packed, they have no gradients after a forward pass in eval mode, and merge to something else."""
    import bitsandbytes
    from peft.utils.integrations import dequantize_module_weight

    tokens = torch.arange(3, 40)[None]
    recipe = ra.Recipe(learning_rate=2e-2, batch_size=4, micro_batch_size=4, reference_rank=4)

    def judge(supported: bool) -> dict[str, torch.Tensor]:
        monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: supported)
        fresh = bitsandbytes.nn.Linear4bit(64, 64)
        assert fresh.support_avx512bf16_for_cpu is supported  # so it would be
        model, _ = ra.load(folder, compute=compute(), quantise="nf4")
        linears = [each for each in model.modules() if isinstance(each, bitsandbytes.nn.Linear4bit)]
        assert len(linears) > 5
        assert not any(linear.support_avx512bf16_for_cpu for linear in linears)
        adapter = attach_adapter(
            model, ra.RankSpace.from_model(model, like_uniform=4, slots="linear").reference(), recipe, seed=0
        )
        with torch.no_grad():
            found = {"logits": adapter.eval()(tokens).logits}
        adapter.train()(tokens, labels=tokens).loss.backward()
        trained = {name: value for name, value in adapter.named_parameters() if value.requires_grad}
        assert len(trained) == 2 * len(describe_linears(model))
        assert all(value.grad is not None for value in trained.values())
        # B is zero at the start, so that only its gradient is not.
        assert all(value.grad.norm() > 0 for name, value in trained.items() if "lora_B" in name)
        found |= {name: value.grad for name, value in trained.items()}
        with torch.no_grad():
            for name, value in trained.items():
                if "lora_B" in name:
                    value.copy_(0.1 * value.grad.sign())
            exact = {
                module: dequantize_module_weight(each.base_layer) + each.get_delta_weight("default")
                for module, each in adapter.named_modules()
                if hasattr(each, "get_delta_weight")
                and isinstance(each.base_layer, bitsandbytes.nn.Linear4bit)
            }
            merged = adapter.eval().merge_and_unload()
            assert len(exact) == len(linears)
            for module, weight in exact.items():
                written = merged.get_submodule(module.removeprefix("base_model.model."))
                error = (dequantize_module_weight(written) - weight).norm() / weight.norm()
                assert error < 0.12, module  # that of 4 bits
                assert not getattr(written.weight.quant_state, "packing_format_for_cpu", False)
            found["merged"] = merged(tokens).logits
        assert not any(each.support_avx512bf16_for_cpu for each in linears)
        return found

    # One that was loaded without rankadaptor.load is seen to before it is measured or trained.
    model, _ = ra.load(folder, compute=compute(), quantise="nf4")
    linear = next(each for each in model.modules() if isinstance(each, bitsandbytes.nn.Linear4bit))
    linear.support_avx512bf16_for_cpu = True
    sequences = tokenise_rows(load_rows(["A row."]), pico_tokenizer, max_length=16)
    measure_loss(model, sequences, compute=compute())
    assert linear.support_avx512bf16_for_cpu is False
    linear.weight.quant_state.packing_format_for_cpu = True  # as it would be after a forward pass
    with pytest.raises(InputError, match=r"packed the 4-bit weights of model\.layers.* Load the model"):
        measure_loss(model, sequences, compute=compute())

    here, elsewhere = judge(False), judge(True)
    assert here.keys() == elsewhere.keys()
    assert all(torch.equal(here[name], elsewhere[name]) for name in here)


@needs_bitsandbytes
def test_its_advice_on_kernels_is_not_passed_on(caplog) -> None:
    """Bitsandbytes gives it on import where the processor has AVX512-BF16; here it is read in the source."""
    package = Path(importlib.util.find_spec("bitsandbytes").origin).parent
    calls = [
        node
        for node in ast.walk(ast.parse((package / "backends" / "cpu" / "ops.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logger.warning"
    ]
    (advice,) = [text for call in calls if "pip install kernels" in (text := ast.literal_eval(call.args[0]))]
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.warning(advice, ImportError("kernels"))
    logger.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]


@needs_bitsandbytes
@pytest.mark.parametrize("kind", KINDS)
def test_it_has_a_name_and_shares_its_weights(folder, kind) -> None:
    model, _ = ra.load(folder, compute=compute(), quantise=kind)
    named, identity = digest_model(model), identify_base(model)
    twin = share_weights(model)
    tokens = torch.arange(3, 20)[None]
    with torch.no_grad():
        logits = [each(input_ids=tokens).logits for each in (twin, model, twin, model)]
    assert all(torch.equal(each, logits[0]) for each in logits)
    assert digest_model(twin) == digest_model(model) == named
    again, _ = ra.load(folder, compute=compute(), quantise=kind)
    assert digest_model(again) == named
    with torch.no_grad():
        again.get_submodule("model.norm").weight.mul_(2)
    assert digest_model(again) != named
    assert identity.differs_from(identify_base(again))
    whole = identify_base(ra.load(folder, compute=compute())[0])
    assert not identity.differs_from(whole)  # the two cannot be compared
    assert holds_weights(folder, model)


@needs_bitsandbytes
def test_it_is_neither_cut_nor_saved(folder, tmp_path) -> None:
    model, tokenizer = ra.load(folder, compute=compute(), quantise="int8")
    with pytest.raises(InputError, match="quantised model cannot be pruned"):
        ra.prune(model, tokenizer, ratio=0.2, importance="l2")
    with pytest.raises(InputError, match="quantised model cannot be saved"):
        ra.save_pruned(model, tokenizer, tmp_path / "copy")


def test_what_is_missing_is_named(folder, monkeypatch) -> None:
    with pytest.raises(InputError, match=r"quantise='int3'.*nf4"):
        ra.load(folder, compute=compute(), quantise="int3")
    with pytest.raises(InputError, match=r"quantise='fp4'.*int8"):
        ra.choose_compute(quantise="fp4")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(InputError, match="quantise needs the package bitsandbytes, which is not installed"):
        ra.load(folder, compute=compute(), quantise="nf4")


@needs_bitsandbytes
def test_a_device_that_it_does_not_serve_is_named(folder, monkeypatch) -> None:
    import bitsandbytes

    monkeypatch.setattr(bitsandbytes, "supported_torch_devices", {"cuda"})
    with pytest.raises(InputError, match=r"supports cuda, not cpu"):
        ra.load(folder, compute=compute(), quantise="nf4")
