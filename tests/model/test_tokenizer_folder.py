from __future__ import annotations

import importlib.util
import json

import pytest

from rankadaptor.errors import CheckpointError
from rankadaptor.model import tokenizer_folder
from rankadaptor.model.tokenizer_folder import check_tokenizer_folder
from rankadaptor.named_models import load_tokenizer

TEXT = "A river runs through the old town."


@pytest.fixture
def folder(pico_tokenizer, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    pico_tokenizer.save_pretrained(tmp_path)
    return tmp_path


def change(path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_sentencepiece_tokenizer_names_the_packages_that_read_it(folder, monkeypatch) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sentencepiece" else find(name)
    )
    with pytest.raises(
        CheckpointError, match=r"SentencePiece tokenizer.*pip install sentencepiece, or copy"
    ) as caught:
        load_tokenizer(folder)
    assert "tiktoken" not in str(caught.value)
    monkeypatch.setattr(tokenizer_folder, "_is_installed", lambda _: False)
    with pytest.raises(CheckpointError, match=r"pip install sentencepiece protobuf"):
        check_tokenizer_folder(folder)
    (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    with pytest.raises(CheckpointError, match=r"tiktoken tokenizer.*pip install tiktoken"):
        check_tokenizer_folder(folder)


def test_a_tokenizer_without_vocabulary_is_not_an_empty_tokenizer(folder) -> None:
    (folder / "tokenizer.json").unlink()  # transformers gives a Qwen2 tokenizer of one token here
    with pytest.raises(CheckpointError, match=r"no usable tokenizer \(none of tokenizer\.json"):
        load_tokenizer(folder)
    (folder / "vocab.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"vocab\.json without merges\.txt"):
        load_tokenizer(folder)


def test_vocabulary_and_merges_load_where_a_class_reads_them(folder, pico_tokenizer) -> None:
    pico_tokenizer.backend_tokenizer.model.save(str(folder))
    (folder / "tokenizer.json").unlink()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    settings = (folder / "tokenizer_config.json").read_text()
    for written in ("{}", settings.replace("TokenizersBackend", "LlamaTokenizer")):
        (folder / "tokenizer_config.json").write_text(written)
        with pytest.raises(CheckpointError, match=r"only vocab\.json and merges\.txt.*GPT2Tokenizer"):
            load_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(settings)
    change(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    assert load_tokenizer(folder)(TEXT)["input_ids"] == pico_tokenizer(TEXT)["input_ids"]


def test_a_file_of_a_newer_version_and_a_damaged_one_are_named(folder) -> None:
    file = folder / "tokenizer.json"
    whole = file.read_text()
    for newer in (whole.replace('"1.0"', '"9.0"', 1), whole.replace('"BPE"', '"Future"', 1)):
        assert newer != whole
        file.write_text(newer)
        with pytest.raises(
            CheckpointError, match=r"tokenizers \d+\.\S+ cannot read tokenizer\.json.*--upgrade"
        ):
            load_tokenizer(folder)
    for content, said in (
        (whole[:100], r"no usable tokenizer \(JSONDecodeError.*Copy"),
        ("version https://git-lfs.github.com/spec/v1\n", r"tokenizer\.json: a Git LFS pointer"),
    ):
        file.write_text(content)
        with pytest.raises(CheckpointError, match=said):
            load_tokenizer(folder)


def test_an_unknown_class_loads_by_its_files_and_code_is_not_run(folder, pico_tokenizer) -> None:
    change(folder / "tokenizer_config.json", tokenizer_class="OfTomorrow")
    assert load_tokenizer(folder)(TEXT)["input_ids"] == pico_tokenizer(TEXT)["input_ids"]
    (folder / "config.json").write_text('{"model_type": "llama"}')
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Tokenizer", None]})
    with pytest.raises(CheckpointError, match=r"needs code of its own, which is not run"):
        load_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"no usable tokenizer \(AttributeError"):
        load_tokenizer(folder)
