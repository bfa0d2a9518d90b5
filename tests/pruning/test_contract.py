"""What every supported family must hold, whole or cut in any way."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from rankadaptor.errors import InputError
from rankadaptor.model import FAMILIES, digest_model, read_pruning, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.model.families import describe_blocks, describe_linears
from rankadaptor.pruning import prune
from rankadaptor.pruning.groups import find_groups
from rankadaptor.pruning.surgery import remove_groups

FAMILY_NAMES = [name for family in FAMILIES for name in family.model_types]
CUTS = {
    "uniform": {"ratio": 0.5},
    "query heads": {"ratio": 0.4, "head_unit": "query_head"},
    "ends kept": {"ratio": 0.4, "skip_first": 1, "skip_last": 1},
    "global": {"ratio": 0.35, "scope": "global", "head_unit": "query_head"},
    "channels": {"ratio": 0.3, "targets": ["channels"], "skip_last": 2},
}
CASES = list(itertools.product(FAMILY_NAMES, CUTS))
TOKENS = torch.randint(3, 100, (2, 10), generator=torch.Generator().manual_seed(3))


def build(pico_model, family: str):
    return pico_model(family, 4, tie_word_embeddings=family == "llama")


@pytest.mark.parametrize(("family", "cut"), CASES)
def test_pruned_model_saves_loads_and_generates(pico_model, tmp_path, family, cut) -> None:
    model = build(pico_model, family)
    whole = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pruned = prune(model, None, importance="l2", **CUTS[cut])
    assert type(pruned) is type(model)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in model.state_dict().items())
    assert read_pruning(model) is None

    save_pruned(pruned, None, tmp_path / "pruned")
    loaded = load_checkpoint(tmp_path / "pruned")
    assert type(loaded) is type(model)
    with torch.no_grad():
        logits = pruned(TOKENS).logits
        assert (loaded(TOKENS).logits - logits).abs().max() == 0.0
        outputs = [
            each.generate(TOKENS, max_new_tokens=6, do_sample=False, use_cache=cached, min_new_tokens=6)
            for each in (pruned, loaded)
            for cached in (True, False)
        ]
    assert all(torch.equal(outputs[0], output) for output in outputs)
    assert read_pruning(loaded) == read_pruning(pruned)
    assert digest_model(loaded) == digest_model(pruned) == read_pruning(pruned)["digest"]
    assert describe_blocks(loaded) == describe_blocks(pruned)


@pytest.mark.parametrize(("family", "cut"), CASES)
def test_plain_transformers_loads_the_folder(pico_model, tmp_path, family, cut, monkeypatch) -> None:
    from transformers import AutoModelForCausalLM, dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    pruned = prune(build(pico_model, family), None, importance="l2", **CUTS[cut])
    save_pruned(pruned, None, tmp_path / "pruned")
    uneven = pruned.config.is_heterogeneous
    assert uneven == (cut not in ("uniform", "query heads"))
    assert uneven == (tmp_path / "pruned" / "modeling_pruned.py").is_file()
    if uneven:
        with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
            AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned", trust_remote_code=uneven)
    with torch.no_grad():
        assert (plain(TOKENS).logits - pruned(TOKENS).logits).abs().max() == 0.0
    plain.set_attn_implementation("eager")
    assert {block.self_attn.config._attn_implementation for block in plain.model.layers} == {"eager"}
    save_pruned(plain, None, tmp_path / "again")
    assert digest_model(load_checkpoint(tmp_path / "again")) == digest_model(pruned)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_record_tells_what_is_gone(pico_model, family) -> None:
    model = build(pico_model, family)
    pruned = prune(model, None, importance="l2", ratio=0.4, skip_first=1)
    record = read_pruning(pruned)
    assert record["parameters_before"] == model.num_parameters()
    assert record["parameters_after"] == pruned.num_parameters()
    assert record["achieved_ratio"] == pytest.approx(1 - pruned.num_parameters() / model.num_parameters())
    assert record["base_digest"] == digest_model(model)
    assert [line["block"] for line in record["blocks"]] == [0, 1, 2, 3]
    assert record["blocks"][0]["removed_share"] == record["blocks"][0]["lost_importance"] == 0
    for line, shape in zip(record["blocks"], describe_blocks(pruned), strict=True):
        assert (line["heads"], line["kv_heads"], line["channels"]) == (
            shape.heads,
            shape.kv_heads,
            shape.channels,
        )
        linears = [linear for linear in describe_linears(model) if linear.block == line["block"]]
        before, after = (
            sum(p.numel() for linear in linears for p in each.get_submodule(linear.name).parameters())
            for each in (model, pruned)
        )
        assert line["removed_share"] == pytest.approx(1 - after / before)
    # The least important went first, so less importance than structure is lost.
    assert all(0 < line["lost_importance"] < line["removed_share"] for line in record["blocks"][1:])


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("head_unit", ["kv_group", "query_head"])
def test_removing_what_is_zero_changes_no_logit(pico_model, family, head_unit) -> None:
    model = build(pico_model, family).double()
    groups = find_groups(model, head_unit=head_unit, blocks=[1, 2])
    # one head of every KV group, or one KV group, and some channels
    removed = [
        ((0, 3) if head_unit == "query_head" else (1,)) if g.target == "heads" else (0, 5, 63) for g in groups
    ]
    with torch.no_grad():
        for entry, indices in zip(groups, removed, strict=True):
            for member in entry.members:
                linear, step = model.get_submodule(member.name), member.repeats * member.width
                for index in indices:
                    places = slice(index * step, (index + 1) * step)
                    if member.axis == 1:
                        linear.weight[:, places] = 0
                    else:
                        linear.weight[places] = 0
                        if linear.bias is not None:
                            linear.bias[places] = 0
        before = model(TOKENS).logits
        remove_groups(model, groups, removed)
        after = model(TOKENS).logits
    assert (after - before).abs().max() < 1e-12


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_pruned_model_trains_and_takes_an_adapter(pico_model, tmp_path, family) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    pruned = prune(build(pico_model, family), None, importance="l2", **CUTS["global"])
    assert all(parameter.requires_grad for parameter in pruned.parameters())
    save_pruned(pruned, None, tmp_path / "pruned")
    names = [linear.name for linear in describe_linears(pruned)]
    torch.manual_seed(0)
    adapted = get_peft_model(pruned, LoraConfig(r=2, target_modules=names, init_lora_weights=False))
    adapted.train()
    adapted(input_ids=TOKENS, labels=TOKENS).loss.backward()
    assert all(p.grad is not None for n, p in adapted.named_parameters() if "lora_" in n)
    adapted.eval().save_pretrained(tmp_path / "adapter")
    fresh = PeftModel.from_pretrained(load_checkpoint(tmp_path / "pruned"), tmp_path / "adapter")
    with torch.no_grad():
        assert (fresh(TOKENS).logits - adapted(TOKENS).logits).abs().max() == 0.0


def test_taylor_prunes_from_texts_and_repeats(pico_model, pico_tokenizer) -> None:
    texts = [f"The river number {i} runs under {i + 2} bridges and through the old town." for i in range(30)]
    options = {"ratio": 0.3, "calibration": texts, "examples": 4, "length": 16}
    one, two = (prune(pico_model("llama", 2), pico_tokenizer, **options) for _ in range(2))
    assert digest_model(one) == digest_model(two)
    other = prune(pico_model("llama", 2), pico_tokenizer, **options, seed=5)
    assert digest_model(one) != digest_model(other)


def test_in_place_cuts_the_given_model(pico_model) -> None:
    model = pico_model("llama", 2)
    assert prune(model, None, ratio=0.3, importance="l1", in_place=True) is model
    assert read_pruning(model)["parameters_after"] == model.num_parameters()


def test_pruning_twice_counts_from_the_whole_model(pico_model, tmp_path) -> None:
    once = prune(
        pico_model("llama", 3), None, ratio=0.25, importance="l2", targets=["channels"], skip_first=1
    )
    twice = prune(once, None, ratio=0.25, importance="l2", targets=["channels"], skip_last=1)
    assert [line["channels"] for line in read_pruning(twice)["blocks"]] == [48, 40, 48]
    shares = [line["removed_share"] for line in read_pruning(twice)["blocks"]]
    assert shares == pytest.approx([0.25, 0.375, 0.25])
    save_pruned(twice, None, tmp_path / "twice")
    with torch.no_grad():
        assert torch.equal(load_checkpoint(tmp_path / "twice")(TOKENS).logits, twice(TOKENS).logits)


def test_head_counts_that_a_configuration_refuses_load_with_the_modelling_file(
    pico_model, tmp_path, caplog
) -> None:
    caplog.set_level(logging.INFO, logger="rankadaptor")
    # 8 heads on 4 keys become 6 on 3 in all blocks; Llama refuses 6 heads of hidden size 32.
    model = pico_model("llama", 2, num_attention_heads=8, num_key_value_heads=4, head_dim=4)
    pruned = prune(model, None, ratio=0.25, importance="l2")
    assert {(shape.heads, shape.kv_heads) for shape in describe_blocks(pruned)} == {(6, 3)}
    assert pruned.config.is_heterogeneous
    folder = save_pruned(pruned, None, tmp_path / "pruned")
    assert "only with trust_remote_code=True" in caplog.text
    assert "6 heads, which do not divide the hidden size 32; 4 or 2 heads would load without" in caplog.text
    with torch.no_grad():
        logits = pruned(TOKENS).logits
        assert torch.equal(load_checkpoint(folder)(TOKENS).logits, logits)
    # A fresh interpreter that knows nothing of this package.
    code = (
        "import sys, torch; from safetensors.torch import save_file; from transformers import AutoModel, "
        "AutoModelForCausalLM\ninner = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "assert type(inner).__name__ == 'PrunedLlamaModel'\n"  # what vLLM's backend for transformers asks for
        "plain = AutoModelForCausalLM.from_pretrained(sys.argv[1], "
        f"trust_remote_code=True)\nsave_file({{'logits': "
        f"plain(torch.tensor({TOKENS.tolist()})).logits.detach()}}, sys.argv[2])\nassert 'rankadaptor' not "
        "in sys.modules"
    )
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", code, folder, tmp_path / "logits"], check=True, env=environment, cwd=tmp_path
    )
    assert (load_file(tmp_path / "logits")["logits"] - logits).abs().max() < 1e-6


def test_faulty_requests_are_refused_before_any_work(pico_model) -> None:
    from peft import LoraConfig, get_peft_model

    model = pico_model("llama", 3)
    with pytest.raises(InputError, match=r"ratio=1\.2 is outside \(0, 1\)"):
        prune(model, None, ratio=1.2)
    with pytest.raises(InputError, match="skip_first=2, skip_last=1: this model has 3 blocks"):
        prune(model, None, ratio=0.2, skip_first=2, skip_last=1)
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(InputError, match="carries an adapter"):
        prune(adapted, None, ratio=0.2)
