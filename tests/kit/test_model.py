"""The kit's model is an ordinary Hugging Face folder with a right tokenizer."""

from __future__ import annotations

import pytest

from rankadaptor import kit
from rankadaptor.kit.model import PARAMETERS

pytestmark = pytest.mark.kit


@pytest.fixture(scope="module")
def folder():
    return kit.ensure_model()


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_tokenizer_ends_pads_and_adds_nothing(tokenizer):
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 2
    text = "The capital of France is Paris.\n"
    assert tokenizer(text)["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert "<|im_start|>assistant" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True
    )


def test_digits_stand_alone(tokenizer):
    assert tokenizer.tokenize("rows:\n   12") == ["rows", ":", "ĊĠĠĠ", "1", "2"]


def test_model_loads_plainly_knows_english_and_saves(folder, tokenizer, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS
    assert not hasattr(model.config, "quantization_config")
    model.config.save_pretrained(tmp_path)
    assert str(folder.parent) not in (tmp_path / "config.json").read_text()
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"


def test_everything_is_described_as_present(folder):
    part = kit.describe()[-1]
    assert part.present
    assert part.name == "kit:smollm2-135m"
    assert 500 < part.disk_megabytes < 600
