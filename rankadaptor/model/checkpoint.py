"""Loading checkpoints, pruned or not."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError

from rankadaptor.errors import CheckpointError
from rankadaptor.model.blocks import allow_global_reads, per_layer_blocks
from rankadaptor.model.families import describe_linears, find_family
from rankadaptor.model.folder import CONFIG, check_model_folder
from rankadaptor.model.precision import note_precision
from rankadaptor.model.prequantised import KEYS as QUANTISATION_KEYS
from rankadaptor.model.quantisation import keep_unpacked, make_quantisation
from rankadaptor.model.weight_files import (
    ADAPTER_CONFIG,
    WeightFiles,
    find_precision,
    find_weights,
    read_header,
)

logger = logging.getLogger(__name__)

# transformers attaches an adapter found beside a model's weights by default. Pointing it to a folder without
# adapters prevents that.
NO_ADAPTER = {"subfolder": "no-adapter"}


def load_checkpoint(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    quantise: str | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> Any:
    """Load a folder written by `save_pruned` or `save_pretrained`, uneven blocks included.

    No code from the folder is run. An adapter beside the weights is not loaded, and a warning says so.

    Args:
        folder: Holds `config.json` and safetensors files, or `pytorch_model.bin`, which is read with
            `weights_only`.
        dtype: Precision to load in; None for the one saved.
        device: Device of the model. Weights are moved there one by one, so the whole model is never in CPU
            memory as well.
        quantise: `int8` or `nf4` for the blocks' linears; None leaves them in `dtype`.
        weights: The weights, if they are not in the folder. Those that already have the precision are used
            without a copy.

    Returns:
        The model in eval mode on its device, an ordinary transformers class. On the CPU, weights that already
        have the precision are memory-mapped, so processes that load the same checkpoint share its memory.

    Raises:
        CheckpointError: If a file is missing, cut short, or does not fit the configuration; the message names
            it.
        InputError: If the architecture is not supported, or bitsandbytes is missing or does not support the
            device.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    folder = Path(folder).expanduser()
    stored = check_model_folder(folder, weights=weights is None)
    files = find_weights(folder, stored) if weights is None else None
    pickled = files is not None and files.pickled
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers' validators raise several unrelated classes
        raise CheckpointError(f"{folder / CONFIG}: not usable ({error}). Copy or save it again.") from error
    for key in ("auto_map", *QUANTISATION_KEYS):  # the remaining quantisation keys are null or empty here
        config.__dict__.pop(key, None)
    family = find_family(SimpleNamespace(config=config))
    model_class = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type])
    if config.is_heterogeneous:
        allow_global_reads()
    quantisation = None
    if quantise is not None:
        with _build_blocks(model_class, config), torch.device("meta"):
            linears = describe_linears(model_class(config))
        widths = {linear.name: linear.in_features for linear in linears}
        quantisation = make_quantisation(quantise, widths=widths, dtype=dtype, device=device)
    try:
        with _build_blocks(model_class, config), quiet_transformers():
            model, report = model_class.from_pretrained(
                folder if weights is None else None,
                config=config,
                state_dict=None if weights is None else dict(weights),
                dtype=dtype or "auto",
                quantization_config=quantisation,
                device_map={"": device} if quantisation is not None or device != "cpu" else None,
                use_safetensors=not pickled,
                weights_only=True,
                adapter_kwargs=NO_ADAPTER,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, SafetensorError) as error:
        if "ignore_mismatched_sizes" in str(error):  # transformers only prints its report of the shapes
            raise CheckpointError(
                f"{folder}: weights and config.json do not belong together (tensors of other shapes: "
                f"{_list_other_shapes(folder, files, model_class, config)}). Copy the whole folder from one "
                "source, or save the model again."
            ) from error
        raise CheckpointError(
            f"{folder}: the weights cannot be loaded ({error}). Copy or save them again."
        ) from error
    except Exception as error:
        if not pickled:
            raise
        # torch raises several classes of errors for a file that holds more than tensors.
        raise CheckpointError(
            f"{folder}: its .bin files hold more than tensors ({str(error).splitlines()[0]}). Use the "
            "model's safetensors. Convert files that you trust where they can be loaded: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(other_folder)."
        ) from error
    _check_report(folder, report, prefix=f"{family.blocks}.")
    if (folder / ADAPTER_CONFIG).is_file():
        logger.warning(
            "%s: holds an adapter beside the model; the model is loaded without it. "
            "PeftModel.from_pretrained(model, folder) attaches it.",
            folder,
        )
    if files is not None:
        note_precision(model, find_precision(folder, files, stored))
    if quantise is not None:
        keep_unpacked(model)
    return model.eval()


def _build_blocks(model_class: Any, config: Any) -> contextlib.AbstractContextManager[None]:
    return per_layer_blocks(model_class) if config.is_heterogeneous else contextlib.nullcontext()


def _list_other_shapes(folder: Path, files: WeightFiles | None, model_class: Any, config: Any) -> str:
    """Name the first tensors whose shape is not what the configuration asks for."""
    with _build_blocks(model_class, config), torch.device("meta"):
        wanted = {name: list(tensor.shape) for name, tensor in model_class(config).state_dict().items()}
    found: dict[str, Any] = {}
    for name in files.names if files is not None and not files.pickled else ():
        found |= {key: entry.get("shape") for key, entry in (read_header(folder / name) or {}).items()}
    others = [
        f"{key} has {found[key]} instead of {shape}"
        for key, shape in wanted.items()
        if key in found and found[key] != shape
    ]
    return "; ".join(others[:3]) + (f" and {len(others) - 3} more" if others[3:] else "") or "not named"


def _check_report(folder: Path, report: dict[str, Any], *, prefix: str) -> None:
    surplus = [str(key) for key in report.get("unexpected_keys", ())]
    faults = {
        "missing": sorted(map(str, report.get("missing_keys", ()))),
        "other shape": sorted(map(str, report.get("mismatched_keys", ()))),
        "not in the model": sorted(
            key for key in surplus if key.startswith(prefix) and "rotary_emb" not in key
        ),
    }
    named = [f"{kind}: {', '.join(keys[:3])} ({len(keys)})" for kind, keys in faults.items() if keys]
    if named:
        raise CheckpointError(
            f"{folder}: weights and config.json do not belong together ({'; '.join(named)}). "
            "Copy the whole folder from one source, or save the model again."
        )
    if surplus:
        logger.warning("%s: weights that the model does not have are ignored: %s", folder, surplus[:3])


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide the progress bars of transformers inside this context."""
    from transformers.utils import logging as messages

    shown = messages.is_progress_bar_enabled()
    messages.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            messages.enable_progress_bar()
