"""Limits as people write them: `60MB`, `0.7x`, `80%`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from rankadaptor.errors import InputError

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(%|x|×)")


@dataclass(frozen=True)
class Share:
    """A limit relative to the dense model.

    Attributes:
        value: Its share, above 0 and at most 1.
    """

    value: float

    def count(self, whole: int) -> int:
        """Return the largest whole number within this share of `whole`."""
        return int(self.value * whole + 1e-9)


def read_size(text: str | float) -> int:
    """Read a file size in bytes: `60MB` is 60,000,000 bytes, `60MiB` is 62,914,560.

    Raises:
        InputError: If it is no size above 0.
    """
    found = _SIZE.fullmatch(str(text).strip())
    if found is None or found[2].lower() not in UNITS or not float(found[1]):
        raise InputError(
            f"given {text!r}; must be a file size such as 60MB (10^6 bytes), 57MiB (2^20 bytes), or 60000000."
        )
    return int(float(found[1]) * UNITS[found[2].lower()])


def read_share(text: str, *, example: str) -> Share:
    """Read a limit relative to the dense model: `80%` or `0.8x`.

    Raises:
        InputError: If it is no share above 0 and at most 1.
    """
    found = _SHARE.fullmatch(str(text).strip())
    value = 0.0 if found is None else float(found[1]) / (100 if found[2] == "%" else 1)
    if not 0 < value <= 1:
        raise InputError(
            f"given {text!r}; must be a share of the dense model above 0 and at most 1, such as {example}."
        )
    return Share(value)


def read_parameters(text: str) -> Share | int:
    """Read a limit on parameters: a share (`80%`) or a number (`100M`, `100000000`).

    Raises:
        InputError: If it is neither.
    """
    if str(text).strip().endswith(("%", "x", "×")):
        return read_share(text, example="80%")
    found = _SIZE.fullmatch(str(text).strip())
    scale = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
    if found is None or found[2].lower() not in scale or not float(found[1]):
        raise InputError(f"given {text!r}; must be a share such as 80% or a number such as 100M.")
    return int(float(found[1]) * scale[found[2].lower()])


def _check_with(read: Callable[[str], object]) -> AfterValidator:
    """Return a validator of a run file's key, which keeps the text as it is written."""

    def check(text: str) -> str:
        try:
            read(text)
        except InputError as error:
            raise ValueError(str(error)) from error
        return text

    return AfterValidator(check)


SizeLimit = Annotated[str, _check_with(read_size)]
LatencyLimit = Annotated[str, _check_with(lambda text: read_share(text, example="0.7x"))]
ParametersLimit = Annotated[str, _check_with(read_parameters)]
"""Keys of run files that hold such a limit."""
