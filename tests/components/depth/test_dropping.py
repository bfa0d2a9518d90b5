from __future__ import annotations

import contextlib

import torch

from rankadaptor.components.depth import DROPPED, drop_live, is_dropped
from rankadaptor.model import digest_model
from rankadaptor.model.families import find_family

TOKENS = torch.randint(3, 100, (2, 10), generator=torch.Generator().manual_seed(3))


def test_a_half_is_left_out_and_put_back(pico_model) -> None:
    model = pico_model("qwen3", 2)
    block, digest, computed = model.model.layers[0], digest_model(model), []
    handles = [
        module.register_forward_hook(lambda *_, name=name: computed.append(name))
        for name, module in block.named_modules()
    ]
    with torch.no_grad():
        before = model(TOKENS).logits
        computed.clear()
        with contextlib.ExitStack() as undo:
            drop_live(block, "attention", family=find_family(model), undo=undo)
            without = model(TOKENS).logits
        assert not [name for name in computed if "attn" in name or name == "input_layernorm"]
        assert "mlp.down_proj" in computed
        assert torch.equal(model(TOKENS).logits, before)
    for handle in handles:
        handle.remove()
    assert not torch.equal(without, before)
    assert digest_model(model) == digest


def test_the_label_of_a_dropped_half() -> None:
    assert is_dropped(DROPPED)
    assert not is_dropped((1, "Q4_0"))
    assert not is_dropped("Q4_0")
