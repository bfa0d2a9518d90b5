from __future__ import annotations

import json
import shutil

import pytest
import torch

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.model import digest_model, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.model.folder import check_model_folder
from rankadaptor.model.weight_files import find_weights, read_header
from tests.test_imports import list_heavy_modules

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 268435456\n"


@pytest.fixture
def model(pico_model):
    return pico_model("llama", 2)


@pytest.fixture
def folder(model, tmp_path):
    return save_pruned(model, None, tmp_path / "model")


def change_config(folder, **fields) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, r"gptq, 4 bits"),
        ({"quant_method": "awq", "w_bit": 4}, r"awq, 4 bits"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {"weights": {"num_bits": 8}, "input_activations": {"num_bits": 4}}
                },
            },
            r"compressed-tensors, 8 bits",
        ),
        ({"quant_method": "fp8"}, r"fp8, 8 bits"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False},
            r"bitsandbytes, 4 bits",
        ),
        ({"_load_in_8bit": True, "load_in_8bit": True}, r"bitsandbytes, 8 bits"),
        ({"bits": 3}, r"does not name, 3 bits"),
        ({"quant_method": "of-tomorrow"}, r"\(of-tomorrow\)"),
        ("int4", r"is 'int4'"),
    ],
)
def test_a_quantised_folder_is_named_with_method_and_bits(folder, given, said) -> None:
    change_config(folder, quantization_config=given)
    (folder / "model.safetensors").unlink()  # found before weights are looked at
    for check in (check_model_folder, load_checkpoint):
        with pytest.raises(CheckpointError, match=rf"already quantised.*{said}") as caught:
            check(folder)
        assert "compute.quantise" in str(caught.value)


def test_packed_tensors_are_found_without_a_configuration_that_says_so(folder) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj"
    packed = {**weights, f"{name}.qweight": torch.zeros(4, 64, dtype=torch.int32)}
    del packed[f"{name}.weight"]
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"already quantised \(GPTQ or AWQ: tensor model\.layers\.0"):
        check_model_folder(folder)
    half = {key: value.to(torch.float8_e4m3fn) for key, value in weights.items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"already quantised \(FP8"):
        check_model_folder(folder)


@pytest.mark.parametrize("given", [None, {}])
def test_an_empty_quantisation_says_nothing(folder, model, given) -> None:
    change_config(folder, quantization_config=given)
    assert digest_model(load_checkpoint(folder)) == digest_model(model)


def test_an_adapter_is_named_with_its_base(tmp_path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "some-org/some-model"}')
    with pytest.raises(CheckpointError, match=r"an adapter .*'some-org/some-model' as its base.*--adapter"):
        check_model_folder(tmp_path)
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"an adapter .*does not name its base"):
        check_model_folder(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_what_stands_in_for_a_file_is_named(folder, name) -> None:
    (folder / name).write_text(POINTER)
    with pytest.raises(CheckpointError, match=rf"{name}: a Git LFS pointer.*git lfs pull"):
        check_model_folder(folder)
    (folder / name).write_text("<!DOCTYPE html>\n<title>Not found</title>")
    with pytest.raises(CheckpointError, match=rf"{name}: a web page"):
        load_checkpoint(folder)


def test_weights_under_other_names_and_in_other_formats_are_named(folder, tmp_path) -> None:
    weights = folder / "model.safetensors"
    for name, said in {
        "llama-final.safetensors": r"If llama-final\.safetensors holds the whole model, rename it to model",
        "consolidated.safetensors": r"Mistral's own layout",
        "model-00001-of-00002.safetensors": r"model\.safetensors\.index\.json, which lists them, is not",
        "adapter_model.safetensors": r"holds an adapter without the weights",
        "model.Q4_K_M.gguf": r"in GGUF format",
        "tf_model.h5": r"in TensorFlow format",
    }.items():
        weights.rename(folder / name)
        with pytest.raises(CheckpointError, match=rf"model\.safetensors: missing.*{said}"):
            check_model_folder(folder)
        (folder / name).rename(weights)
    (tmp_path / "gguf").mkdir()
    file = tmp_path / "gguf" / "model.gguf"
    file.write_bytes(b"GGUF")
    for given in (tmp_path / "gguf", file):
        with pytest.raises(CheckpointError, match=r"model\.gguf is a GGUF file, made for llama\.cpp"):
            check_model_folder(given)
    with pytest.raises(CheckpointError, match=r"no config\.json here\. Its subfolder model has one"):
        check_model_folder(tmp_path)


def test_a_stale_index_beside_whole_weights_counts_nothing(folder, model) -> None:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "pytorch_model.bin").write_bytes(b"PK of an older save")
    assert digest_model(load_checkpoint(folder)) == digest_model(model)


def test_an_index_that_cannot_be_used_is_named(folder) -> None:
    (folder / "model.safetensors").unlink()
    for content in ("[]", '{"weight_map": {}}', "{", POINTER):
        (folder / "model.safetensors.index.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"index\.json: .*(again|git lfs pull)"):
            check_model_folder(folder)


def test_bin_files_load_as_tensors_alone(folder, model) -> None:
    whole = model.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(whole, folder / "pytorch_model.bin")
    assert find_weights(folder, {}).pickled
    assert digest_model(load_checkpoint(folder)) == digest_model(model)

    names = sorted(whole)
    shards = {f"pytorch_model-0000{i + 1}-of-00002.bin": names[i::2] for i in range(2)}
    (folder / "pytorch_model.bin").unlink()
    for shard, keys in shards.items():
        torch.save({key: whole[key] for key in keys}, folder / shard)
    index = {"metadata": {}, "weight_map": {key: shard for shard, keys in shards.items() for key in keys}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert digest_model(load_checkpoint(folder)) == digest_model(model)

    last = folder / "pytorch_model-00002-of-00002.bin"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"pytorch_model-00002-of-00002\.bin: damaged or cut short"):
        check_model_folder(folder)
    torch.save({"model": model}, last)  # a whole module: code, which is not run
    with pytest.raises(CheckpointError, match=r"hold more than tensors.*save_pretrained"):
        load_checkpoint(folder)


def test_an_adapter_beside_the_weights_is_left_there(folder, model, caplog) -> None:
    from peft import LoraConfig, get_peft_model

    before = digest_model(model)
    get_peft_model(model, LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).save_pretrained(
        folder
    )
    loaded = load_checkpoint(folder)
    assert digest_model(loaded) == before
    assert not getattr(loaded, "peft_config", None)
    assert "loaded without it" in caplog.text


def test_other_kinds_of_configuration_are_refused(folder) -> None:
    change_config(folder, model_type="mamba")
    with pytest.raises(InputError, match="Supported: llama"):
        check_model_folder(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"config\.json: must hold a JSON object"):
        check_model_folder(folder)


def test_checking_reads_nothing_heavy_and_returns_the_configuration(folder) -> None:
    assert check_model_folder(folder)["model_type"] == "llama"
    assert read_header(folder / "model.safetensors")["lm_head.weight"]["shape"] == [128, 32]
    shutil.rmtree(folder / "absent", ignore_errors=True)
    with pytest.raises(CheckpointError, match="no such folder"):
        check_model_folder(folder / "absent")
    code = "from rankadaptor.model.folder import check_model_folder"
    assert list_heavy_modules(f"{code}; check_model_folder({str(folder)!r})") == []
