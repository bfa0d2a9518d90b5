"""Bottleneck adapters [Adapters]_: a small two-layer network behind each attention and each MLP.

The package `adapters` has them too, but its newest version needs transformers 4; PEFT has none.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import compare_sha256, compute_file_sha256, read_json, write_bytes, write_json
from rankadaptor.methods import METHODS, explain_unmergeable
from rankadaptor.model.families import describe_linears, find_family
from rankadaptor.model.identity import BaseIdentity, identify_base

SCHEMA = 1
ABOUT_FILE = "bottleneck.json"
WEIGHTS_FILE = "bottleneck.safetensors"
PARTS = ("bottleneck_down", "bottleneck_up")


class BottleneckLinear(nn.Module):
    """A frozen linear with a bottleneck adapter behind it: y + U relu(D y), where y is its output.

    Args:
        base_layer: The linear, quantised or not.
        width: Inner width of the adapter.
        generator: Draws D; U is zero, so that a new adapter changes nothing.
    """

    def __init__(self, base_layer: Any, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        device = base_layer.weight.device
        self.bottleneck_down = nn.Linear(self.out_features, width, device=device)
        self.bottleneck_up = nn.Linear(width, self.out_features, device=device)
        bound = 1.0 / math.sqrt(self.out_features)
        drawn = torch.rand(width, self.out_features, generator=generator) * (2 * bound) - bound
        with torch.no_grad():
            self.bottleneck_down.weight.copy_(drawn)
            self.bottleneck_down.bias.zero_()
            self.bottleneck_up.weight.zero_()
            self.bottleneck_up.bias.zero_()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the linear's output and the adapter's correction of it, in the linear's precision."""
        output: torch.Tensor = self.base_layer(inputs)
        inner = torch.relu(self.bottleneck_down(output.to(self.bottleneck_down.weight.dtype)))
        correction: torch.Tensor = self.bottleneck_up(inner)
        return output + correction.to(output.dtype)


class BottleneckModel(nn.Module):
    """A causal language model with bottleneck adapters, used like a PEFT model.

    Args:
        model: The model; its blocks' output linears are wrapped in place.
        width: Inner width of every adapter.
        seed: Seed of the initialisation.
    """

    steps_trained: int | None = None

    def __init__(self, model: Any, *, width: int, seed: int) -> None:
        super().__init__()
        self.flags_before = {name: value.requires_grad for name, value in model.named_parameters()}
        self.width = width
        model.requires_grad_(False)
        for name in list_places(model):
            parent, _, last = name.rpartition(".")
            digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
            base = model.get_submodule(name)
            setattr(model.get_submodule(parent), last, BottleneckLinear(base, width, generator=generator))
        self.base_model = model
        self.train(model.training)

    def get_base_model(self) -> Any:
        """Return the causal language model, with the adapters in it."""
        return self.base_model

    def forward(self, *args: Any, **given: Any) -> Any:
        """Run the model."""
        return self.base_model(*args, **given)

    def __getattr__(self, name: str) -> Any:
        """Return the model's own attribute, for example `config`, `device` or `generate`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_model":  # while it is being built
                raise
            return getattr(self.base_model, name)

    def list_weights(self) -> dict[str, torch.nn.Parameter]:
        """Return the adapters' weights by name."""
        return {
            name: value
            for name, value in self.base_model.named_parameters()
            if any(f".{part}." in name for part in PARTS)
        }

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:
        """Write the adapters: safetensors, and JSON that says how wide they are and what they belong to.

        Raises:
            StorageError: If the folder cannot be written or the disk is full.
        """
        folder = Path(save_directory)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.list_weights().items()}
        write_bytes(folder / WEIGHTS_FILE, save(tensors))
        about = {
            "schema": SCHEMA,
            "width": self.width,
            "activation": "relu",
            "base": identify_base(self).to_json(),
            "sha256": {WEIGHTS_FILE: compute_file_sha256(folder / WEIGHTS_FILE)},
        }
        write_json(folder / ABOUT_FILE, about)

    def unload(self) -> Any:
        """Take the adapters out and return the model as it was."""
        for name, module in list(self.base_model.named_modules()):
            if isinstance(module, BottleneckLinear):
                parent, _, last = name.rpartition(".")
                setattr(self.base_model.get_submodule(parent), last, module.base_layer)
        for name, parameter in self.base_model.named_parameters():
            parameter.requires_grad_(self.flags_before.get(name, False))
            parameter.grad = None
        return self.base_model

    def merge_and_unload(self, *_: Any, **__: Any) -> Any:
        """Refuse: a bottleneck adapter is no matrix.

        Raises:
            InputError: Always, with the reason.
        """
        raise InputError(explain_unmergeable(METHODS["bottleneck"]))


def attach_bottlenecks(model: Any, *, width: int, seed: int) -> BottleneckModel:
    """Put bottleneck adapters behind every attention and MLP that the model has, in place."""
    return BottleneckModel(model, width=width, seed=seed)


def list_places(model: Any) -> list[str]:
    """Return the names of the linears that end each half of a block."""
    family = find_family(model)
    ends = (family.output, *family.channel_columns)
    return [linear.name for linear in describe_linears(model) if linear.kind in ends]


def is_bottleneck_folder(folder: str | Path) -> bool:
    """Tell whether a folder holds bottleneck adapters."""
    return (Path(folder).expanduser() / ABOUT_FILE).is_file()


def load_bottlenecks(model: Any, folder: str | Path) -> BottleneckModel:
    """Put saved bottleneck adapters on a model, in place, after checking that they belong together.

    Args:
        model: The model that they were trained for.
        folder: Written by `BottleneckModel.save_pretrained`.

    Returns:
        The model with its adapters, in eval mode.

    Raises:
        CheckpointError: If a file is missing, damaged or of another schema, or the adapters belong to other
            weights or shapes. The model is then unchanged.
    """
    place = Path(folder).expanduser()
    width, weights = _read(place, model)
    adapted = attach_bottlenecks(model, width=width, seed=0)
    found = adapted.list_weights()
    faults = [f"{name} is missing" for name in sorted(found.keys() - weights.keys())]
    faults += [f"{name} has no place" for name in sorted(weights.keys() - found.keys())]
    faults += [
        f"{name} has shape {tuple(weights[name].shape)}, needed is {tuple(value.shape)}"
        for name, value in found.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if faults:
        adapted.unload()
        raise CheckpointError(
            f"{place}: the adapters do not fit this model ({len(faults)} differences, first: {faults[0]}). "
            "Give the model that they were trained for."
        )
    with torch.no_grad():
        for name, value in found.items():
            value.copy_(weights[name])
            value.requires_grad_(False)
    return adapted.eval()


def _read(place: Path, model: Any) -> tuple[int, Mapping[str, torch.Tensor]]:
    """Read a folder, and compare the weights that it was trained on with the model's."""
    again = "Copy the whole folder, or save the adapters again."
    try:
        about = read_json(place / ABOUT_FILE)
        if about["schema"] != SCHEMA:
            raise CheckpointError(f"{place}: schema {about['schema']}, this version reads {SCHEMA}.")
        trained, width = (
            BaseIdentity(about["base"]["digest"], about["base"]["precision"]),
            int(about["width"]),
        )
        compare_sha256(place, dict(about["sha256"]), remedy=again)
        weights = load_file(place / WEIGHTS_FILE)
    except CheckpointError:
        raise
    except (InputError, OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{place}: the adapters do not load ({error}). {again}") from error
    given = identify_base(model)
    if trained.differs_from(given):
        raise CheckpointError(
            f"{place}: these adapters were trained on the weights {trained.digest}, but the model has "
            f"the weights {given.digest}. Give the model that they were trained for, or train new ones."
        )
    return width, weights
