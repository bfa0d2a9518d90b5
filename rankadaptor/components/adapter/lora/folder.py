"""Adapter folders: PEFT's files, the identity of the base, and a card; written atomically."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import snapshot_download
from peft import PeftModel, PeftModelForCausalLM, get_peft_model_state_dict, load_peft_weights
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open

from rankadaptor.components.adapter.bottleneck import (
    BottleneckModel,
    is_bottleneck_folder,
    load_bottlenecks,
)
from rankadaptor.components.adapter.lora.card import CARD, is_replaceable, render_adapter_card
from rankadaptor.components.adapter.lora.rounded import restore_unrounded
from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import (
    compare_sha256,
    compute_file_sha256,
    name_storage_fault,
    read_json,
    write_json,
    write_text,
)
from rankadaptor.methods import FIXED, explain_unmergeable, find_method
from rankadaptor.model.identity import BaseIdentity, forget_origin, holds_weights, identify_base

if TYPE_CHECKING:
    from rankadaptor.components.adapter.lora.card import Described

logger = logging.getLogger(__name__)

SCHEMA = 1
ABOUT_FILE = "rankadaptor.json"
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
OTHER_WEIGHTS_FILE = "adapter_model.bin"
AGAIN = "Copy the whole folder, or save the adapter again."


class RecoveredModel(PeftModelForCausalLM):  # type: ignore[misc]
    """A PEFT model that stores which weights its adapter was trained on.

    It is used like any PEFT model; `save_pretrained` writes a folder that plain PEFT reads, with the further
    file `rankadaptor.json` and a card.
    """

    _base: BaseIdentity | None
    _name_base: Callable[[], str | None]
    _shared: bool
    steps_trained: int | None = None

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, verdict: Described | None = None, **given: Any
    ) -> None:
        """Write the adapter; after an interruption or with a full disk the earlier files remain.

        Args:
            save_directory: Folder; created if it does not exist. Other files in it are kept.
            verdict: Verdict on its ranks, from `confirm`, for one sentence of the card.
            given: Further arguments of PEFT's `save_pretrained`.

        Raises:
            InputError: If `save_directory` is a file.
            StorageError: If the folder cannot be written or the disk is full.
        """
        if not given.get("is_main_process", True):
            return
        folder = Path(save_directory)
        if folder.is_file():
            raise InputError(f"{folder}: is a file. Give a folder for the adapter.")
        if getattr(self, "rounded_scales", None) == FIXED:
            logger.warning(
                "%s: the adapter was trained on fixed scales of rounded weights, which it does not hold. For "
                "a file with the trained weights save the merged model (merge_and_unload, save_pruned).",
                folder,
            )
        name, base = self._name_base(), self._identify()
        for config in self.peft_config.values():
            config.base_model_name_or_path = name
        described = {"name": name, **base.to_json()}
        with name_storage_fault(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.adapter."))
            try:
                super().save_pretrained(str(fresh), **{"save_embedding_layers": False, **given})
                files = [path for path in fresh.rglob("*") if path.is_file() and path.name != CARD]
                sums = {str(path.relative_to(fresh)): compute_file_sha256(path) for path in sorted(files)}
                write_text(fresh / CARD, render_adapter_card(self, base=described, verdict=verdict))
                write_json(fresh / ABOUT_FILE, {"schema": SCHEMA, "base": described, "sha256": sums})
                _move_into(fresh, folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)

    def merge_and_unload(self, *args: Any, **given: Any) -> Any:
        """Merge the adapter into the weights and return the plain model; see PEFT.

        Weights shared with the recovered model are copied first, so that that model does not change. The
        result is no longer the model that was loaded and does not keep its name. An adapter that was trained
        through a quantiser gives the rounded weights.

        Raises:
            InputError: If the adapter is made of virtual tokens, which are no weights.
        """
        self._refuse_virtual_tokens()
        self._own_weights()
        merged = self.base_model.merge_and_unload(*args, **given)
        restore_unrounded(self, merged)
        forget_origin(merged)
        return merged

    def merge_adapter(self, *args: Any, **given: Any) -> None:
        """Merge the adapter into the weights in place; see PEFT. Shared weights are copied first."""
        self._refuse_virtual_tokens()
        self._own_weights()
        self.base_model.merge_adapter(*args, **given)

    def remember_base(
        self, base: BaseIdentity | None, name_base: Callable[[], str | None], *, shared: bool
    ) -> None:
        """Store the base's identity, a function that returns its name, and whether weights are shared."""
        self._base, self._name_base, self._shared = base, name_base, shared

    def _refuse_virtual_tokens(self) -> None:
        config = self.active_peft_config
        if config.is_prompt_learning:
            raise InputError(explain_unmergeable(find_method(config.peft_type.value.lower())))

    def _own_weights(self) -> None:
        if not self._shared:
            return
        for module in self.modules():
            if not isinstance(module, BaseTunerLayer):
                continue
            for parameter in module.get_base_layer().parameters():
                if type(parameter) is torch.nn.Parameter:  # quantised ones are replaced, not changed
                    parameter.data = parameter.data.clone()
        self._shared = False

    def _identify(self) -> BaseIdentity:
        if self._base is None:
            self._base = identify_base(self)
        return self._base


def remember_base(
    peft_model: PeftModel, model: Any, *, base: BaseIdentity | None = None, shared: bool = False
) -> PeftModel:
    """Record which weights the adapter of a PEFT model belongs to.

    Args:
        peft_model: A PEFT model; it becomes a `RecoveredModel`, in place.
        model: The model that the adapter was trained for. Its name is read when the adapter is saved.
        base: Its identity, if known; otherwise it is computed from the weights when it is needed.
        shared: Whether the PEFT model shares the weights of `model`, which must not change.
    """
    if isinstance(peft_model, PeftModelForCausalLM):
        peft_model.__class__ = RecoveredModel
        peft_model.remember_base(base, lambda: _name_origin(model), shared=shared)
    return peft_model


def load_adapter(model: Any, folder: str | Path) -> PeftModel | BottleneckModel:
    """Attach a saved adapter to a model, in place, after checking that they belong together.

    Args:
        model: The model that it was trained for.
        folder: Written by `save_pretrained` of a recovered model or of plain PEFT. The latter does not store
            which weights it was trained on, so that only names and shapes are compared.

    Returns:
        The PEFT model in eval mode; a `BottleneckModel` where the folder holds bottleneck adapters.

    Raises:
        CheckpointError: If a file is missing, damaged or not what was written, if the adapter was trained on
            other weights, or if names or shapes differ. The model is then unchanged.
    """
    place = Path(folder).expanduser()
    if is_bottleneck_folder(place):
        return load_bottlenecks(model, place)
    about = check_adapter(place)
    base = _compare_base(model, place, about)
    try:
        weights = load_peft_weights(str(place), device="cpu")
    except Exception as error:  # safetensors, pickle and zip raise unrelated classes
        raise CheckpointError(f"{place}: the adapter does not load ({error}). Copy it again.") from error
    _refuse(place, _list_misfits(model, weights))
    peft_model = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing keys are an error below
            peft_model = PeftModel.from_pretrained(model, str(place))
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{place}: the adapter does not fit this model ({error}). Give the model that it was trained for."
        ) from error
    expected = get_peft_model_state_dict(peft_model, save_embedding_layers=False)
    faults = [f"{name} is missing" for name in sorted(expected.keys() - weights.keys())]
    faults += [f"{name} has no place" for name in sorted(weights.keys() - expected.keys())]
    if faults:
        peft_model.unload()
    _refuse(place, faults)
    return remember_base(peft_model, model, base=base).eval()


def check_adapter(folder: Path, *, remedy: str | None = None) -> dict[str, Any] | None:
    """Check that an adapter's files are complete and unchanged, and return the content of `rankadaptor.json`.

    Args:
        folder: Folder of the adapter.
        remedy: End of an error message; by default to copy or save the adapter again.

    Returns:
        None if there is no such file: plain PEFT and earlier versions write none.

    Raises:
        CheckpointError: If a file is missing, damaged, or not what was written; the message names it.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{folder}: no {CONFIG_FILE} there. {remedy or 'Give a folder that PEFT saved.'}"
        )
    if not any((folder / name).is_file() for name in (WEIGHTS_FILE, OTHER_WEIGHTS_FILE)):
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: missing. {remedy or AGAIN}")
    for name in (CONFIG_FILE, ABOUT_FILE):
        try:
            content = read_json(folder / name) if (folder / name).is_file() else {}
        except InputError as error:
            raise CheckpointError(f"{error} {remedy or AGAIN}") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{folder / name}: not an object of JSON. {remedy or AGAIN}")
    if (folder / ABOUT_FILE).is_file():
        compare_sha256(
            folder,
            dict(content.get("sha256") or {}),
            remedy=remedy or f"{AGAIN} If the file was replaced on purpose, delete {ABOUT_FILE}.",
        )
        return content
    if (folder / WEIGHTS_FILE).is_file():
        try:
            with safe_open(folder / WEIGHTS_FILE, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder / WEIGHTS_FILE}: damaged or cut short ({error}). {remedy or AGAIN}"
            ) from error
    return None


def _compare_base(model: Any, place: Path, about: dict[str, Any] | None) -> BaseIdentity | None:
    stored = (about or {}).get("base")
    if not isinstance(stored, dict) or not {"digest", "precision"} <= stored.keys():
        logger.info("%s does not say which weights it was trained on; names and shapes are compared", place)
        return None
    trained, given = BaseIdentity(stored["digest"], stored["precision"]), identify_base(model)
    if trained.differs_from(given):
        where = f" ({stored['name']})" if stored.get("name") else ""
        called = model.__dict__.get("name_or_path")
        found = f"{given.digest} ({called})" if called else given.digest
        raise CheckpointError(
            f"{place}: this adapter was trained on the weights {trained.digest}{where}, but the model has "
            f"the weights {found}. Give the model that it was trained for, or train an adapter for this one."
        )
    if trained.precision != given.precision:
        logger.info(
            "%s was trained on weights in %s, these are in %s: names and shapes are compared",
            place, trained.precision, given.precision,
        )  # fmt: skip
    return trained


def _list_misfits(model: Any, weights: dict[str, Any]) -> list[str]:
    """Compare LoRA weights with the linears that they belong to, before anything is attached."""
    linears = dict(model.named_modules())
    faults = []
    for key, value in sorted(weights.items()):
        name, _, side = key.removeprefix("base_model.model.").rpartition(".lora_")
        if side not in ("A.weight", "B.weight"):
            continue
        linear = linears.get(name)
        if linear is None or not hasattr(linear, "in_features"):
            faults.append(f"the model has no linear {name}")
            continue
        found, wanted = (
            (value.shape[1], linear.in_features) if side[0] == "A" else (value.shape[0], linear.out_features)
        )
        if found != wanted:
            what = "inputs" if side[0] == "A" else "outputs"
            faults.append(f"{name} has {wanted} {what}, the adapter was trained for {found}")
    return faults


def _refuse(place: Path, faults: list[str]) -> None:
    if faults:
        raise CheckpointError(
            f"{place}: the adapter does not fit this model ({len(faults)} differences, first: {faults[0]}). "
            "Give the model that it was trained for."
        )


def _name_origin(model: Any) -> str | None:
    """Return the folder or hub id that holds exactly these weights, or None."""
    name = str(model.__dict__.get("name_or_path") or "")
    if not name:
        return None
    folder = Path(name)
    if folder.is_dir():
        return str(folder.resolve()) if holds_weights(folder, model) else None
    if folder.is_absolute():
        return None
    try:
        kept = snapshot_download(name, local_files_only=True)
    except Exception:  # not in the local cache, so that it cannot be compared
        return name
    return name if holds_weights(kept, model) else None


def _move_into(fresh: Path, folder: Path) -> None:
    """Move files into a folder, the description last; a card that a user wrote is kept."""
    folder.mkdir(exist_ok=True)
    last = {CONFIG_FILE: 1, ABOUT_FILE: 2}
    for path in sorted((p for p in fresh.rglob("*") if p.is_file()), key=lambda p: last.get(p.name, 0)):
        target = folder / path.relative_to(fresh)
        if path.name == CARD and not is_replaceable(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
