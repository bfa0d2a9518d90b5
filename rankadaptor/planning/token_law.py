"""What more tokens of recovery bring, from a law fitted to measured recoveries. No torch import.

The share of the loss that pruning cost and recovery wins back after `D` tokens is taken as
`1 − (1 + D / D0)^−b`: nothing without training, and the dense model's loss in the limit.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from rankadaptor.errors import InputError
from rankadaptor.files import read_json

FILE = Path(__file__).with_name("token_law.json")
FACTOR = 4
"""Times the tokens that a plan looks ahead."""


@dataclass(frozen=True)
class TokenLaw:
    """Share regained over tokens, as measured in one setting.

    Attributes:
        setting: Base model and text.
        pruning: How the model was pruned, in words.
        scale: D0, in tokens.
        exponent: b.
        draws: Values of (D0, b) that the noise of the measurements allows, for intervals.
        tokens: Fewest and most tokens measured.
    """

    setting: str
    pruning: str
    scale: float
    exponent: float
    draws: tuple[tuple[float, float], ...]
    tokens: tuple[int, int]

    def predict(self, tokens: float) -> tuple[float, float, float]:
        """Return the share regained after so many tokens, and its interval at 95 %."""
        spread = sorted(compute_share(tokens, scale=scale, exponent=power) for scale, power in self.draws)
        share = compute_share(tokens, scale=self.scale, exponent=self.exponent)
        if not spread:
            return share, share, share
        edge = round(0.025 * (len(spread) - 1))
        return share, min(spread[edge], share), max(spread[len(spread) - 1 - edge], share)

    def describe(self, tokens: int) -> str:
        """Say what so many tokens regain, and what more would bring."""
        now, more = self.predict(tokens), self.predict(FACTOR * tokens)
        low, high = self.tokens
        outside = (
            "" if low <= tokens and FACTOR * tokens <= high else f", measured from {low:,} to {high:,} tokens"
        )
        return (
            f"recovery: {tokens:,} tokens regain about {_write_share(now)} of the loss that pruning costs, "
            f"{FACTOR} times as many {_write_share(more)} ({self.setting}, {self.pruning}{outside}; an order "
            "of magnitude for other models)"
        )


def compute_share(tokens: float, *, scale: float, exponent: float) -> float:
    """Return the share that is regained after so many tokens."""
    return float(1.0 - (1.0 + tokens / scale) ** -exponent)


@functools.cache
def read_token_law(path: Path = FILE) -> TokenLaw | None:
    """Return the law that comes with the package; None where none has been fitted yet.

    Raises:
        InputError: If the file is no law.
    """
    if not path.exists():
        return None
    found = read_json(path)
    try:
        return TokenLaw(
            setting=str(found["setting"]),
            pruning=str(found["pruning"]),
            scale=float(found["scale"]),
            exponent=float(found["exponent"]),
            draws=tuple((float(scale), float(power)) for scale, power in found["draws"]),
            tokens=(int(found["tokens"][0]), int(found["tokens"][1])),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not a law of recovery over tokens ({error!r}). Install the package again."
        ) from error


def describe_tokens(tokens: int) -> tuple[str, ...]:
    """Return the sentence of a plan on what its recovery's tokens bring; none without a law."""
    law = read_token_law()
    return () if law is None else (law.describe(tokens),)


def _write_share(found: tuple[float, float, float]) -> str:
    share, low, high = (round(100 * each) for each in found)
    return f"{share} % ({low} to {high} %)"
