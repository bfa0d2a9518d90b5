"""Sessions: the engine agrees with transformers, and whatever it does, this process goes on."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from rankadaptor import InputError
from rankadaptor.engine import EngineSession, find_engine
from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.errors import EngineError
from tests.engine.shapes import build_uneven

TOKENS = [3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26]


@pytest.fixture(scope="module")
def model(pico_model):
    return build_uneven(pico_model, "llama", groups=[4, 3, 1, 2], channels=[96, 64, 32, 128])


@pytest.fixture(scope="module")
def file(model, pico_tokenizer, tmp_path_factory):
    return write_gguf(
        model, pico_tokenizer, tmp_path_factory.mktemp("gguf") / "m.gguf", default_type="F32"
    ).path


def test_it_continues_a_text_with_the_files_own_tokenizer(model, file, pico_tokenizer):
    text = "The fox jumps over"
    with EngineSession(file, cache="f32") as session:
        found = session.generate(text, 6, temperature=0)
        drawn = [session.generate(text, 12, temperature=5.0, seed=seed) for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]
        for call, fault in (
            (lambda: session.generate("", 4), "give a text"),
            (lambda: session.generate(text, 4, temperature=-1.0), "temperature of 0 or more"),
            (lambda: session.generate(text, 2000), "do not fit a context of 1024"),
        ):
            with pytest.raises(InputError, match=fault):
                call()
    tokens = pico_tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        wanted = model.generate(tokens, max_new_tokens=6, do_sample=False, pad_token_id=0)
    assert found == pico_tokenizer.decode(wanted[0], skip_special_tokens=True)[len(text) :]
    assert found


def test_it_computes_what_transformers_does(model, file):
    with torch.no_grad():
        wanted = model(torch.tensor([TOKENS])).logits[0].float()
        losses = torch.nn.functional.cross_entropy(wanted[:-1], torch.tensor(TOKENS[1:]), reduction="none")
        continued = list(TOKENS)
        while len(continued) < len(TOKENS) + 8:
            continued.append(int(model(torch.tensor([continued])).logits[0, -1].argmax()))
    with EngineSession(file, context=600, cache="f32") as session:
        np.testing.assert_allclose(session.logits(TOKENS), wanted.numpy(), atol=1e-4)
        np.testing.assert_allclose(session.token_losses(TOKENS), losses.numpy(), atol=1e-4)
        assert session.greedy(TOKENS, 8) == continued[len(TOKENS) :]
        assert session.vocabulary == model.config.vocab_size
        assert session.parameters == sum(parameter.numel() for parameter in model.parameters())
        long = (TOKENS * 50)[:600]  # several batches
        assert session.token_losses(long).shape == (599,)
        np.testing.assert_allclose(session.token_losses(long)[:11], losses.numpy(), atol=1e-4)
        speed = session.measure_speed(prompt=64, generated=8, repeats=2)
        assert speed.prompt > 0
        assert speed.generate > 0
        assert {len(each) for each in session.time_tokens(prompt=8, generated=0, repeats=3).values()} == {
            0,
            3,
        }
        for call, fault in (
            (lambda: session.greedy(TOKENS, 600), r"12 tokens and 599 more do not fit.*context=611"),
            (lambda: session.token_losses([1]), "at least two"),
            (lambda: session.logits([1, 128]), r"128 is no token id of .*0 to 127"),
            (lambda: session.measure_speed(prompt=900), "need a context of at least 900"),
            (lambda: session.measure_speed(repeats=0), "at least 1 each"),
        ):
            with pytest.raises(InputError, match=fault):
                call()
        assert session.greedy(TOKENS, 1) == continued[len(TOKENS) : len(TOKENS) + 1]
    with pytest.raises(InputError, match="this session is closed"):
        session.greedy(TOKENS, 1)


def test_an_engine_that_dies_is_an_error_with_the_file(file):
    session = EngineSession(file, context=64)
    os.kill(session._child._process.pid, signal.SIGABRT)
    with pytest.raises(EngineError, match=r"m\.gguf: the engine was ended by SIGABRT while it generated"):
        session.greedy(TOKENS, 4)
    with pytest.raises(InputError, match="closed"):
        session.greedy(TOKENS, 4)


def test_a_file_that_it_refuses_is_named_with_its_last_words(file, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(
        EngineError, match=r"broken\.gguf: the engine refuses the file\. Its last words: .*llama"
    ):
        EngineSession(broken)
    for fault, options in (
        ("no such file", {"path": tmp_path / "none.gguf"}),
        ("at least 1", {"path": file, "threads": 0}),
        ("choose f16 or f32", {"path": file, "cache": "q8_0"}),
    ):
        with pytest.raises(InputError, match=fault):
            EngineSession(**options)


def test_the_engine_is_described_or_missed(monkeypatch, tmp_path):
    monkeypatch.delenv("RANKADAPTOR_LLAMA", raising=False)
    engine = find_engine()
    assert engine.version[0].isdigit()
    assert engine.source.startswith("xllamacpp 20")
    for name in ("libllama.so", "libggml.so", "libggml-base.so"):
        (tmp_path / name).write_bytes(b"no library")
    monkeypatch.setenv("RANKADAPTOR_LLAMA", str(tmp_path))
    with pytest.raises(InputError, match=r"libllama\.so: the engine does not load"):
        find_engine()
