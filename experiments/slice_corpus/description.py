"""What a setting of the corpus of slices is: a model, texts, choices and bands of size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import yaml

from rankadaptor.errors import InputError


@dataclass(frozen=True)
class Description:
    """A setting as its YAML file describes it.

    Attributes:
        name: Also the name of its files.
        model: Folder or name of the model, as `load` takes it.
        text: Sources of calibration and scores.
        choices: Arguments of `build_space`.
        bands: Name of each band → its limit on the bytes, as a share of the dense reference's.
        family: What a family that is left out is called; settings of one family share a model.
        held_out: Whether no predictor is trained on it.
        seed: Of texts and of all draws.
        length: Tokens of a window.
        tokens: Tokens of a score.
        few: Tokens of a first score in the search for the reference optimum.
        calibration: Tokens of the order of importance.
        dtype: Precision of all scores, the dense model's included.
        sweep: Evaluations of the sweep; every option of every slot by default.
        random: Random allocations per band.
        search: Evaluations of the refined search per band.
        reference: Evaluations, on few tokens and on all, of the search for the optimum, by band.
    """

    name: str
    model: str
    text: tuple[str, ...]
    choices: Mapping[str, Any]
    bands: Mapping[str, float]
    family: str
    held_out: bool = False
    seed: int = 0
    length: int = 128
    tokens: int = 2048
    few: int = 512
    calibration: int = 4096
    dtype: str = "float32"
    sweep: int | None = None
    random: int = 240
    search: int = 160
    reference: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML file.

        Raises:
            InputError: If it is no setting, or a field is unknown or missing.
        """
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"{path}: cannot be read ({error}). Give the YAML file of a setting.") from error
        known = {each.name for each in fields(cls)}
        if not isinstance(data, dict) or set(data) - known:
            unknown = sorted(set(data) - known) if isinstance(data, dict) else data
            raise InputError(f"{path}: {unknown} unknown. A setting has {', '.join(sorted(known))}.")
        try:
            data["text"] = tuple(data["text"])
            data["reference"] = {
                str(band): (int(few), int(whole)) for band, (few, whole) in data["reference"].items()
            }
            found = cls(**data)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: {error}. See the other settings in this folder.") from error
        if unknown := sorted(set(found.reference) ^ set(found.bands)):
            raise InputError(f"{path}: bands and reference differ in {', '.join(unknown)}. Give both.")
        return found
