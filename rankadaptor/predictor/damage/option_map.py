"""From slot features to slot values: a linear map of logarithms that was learned on sweeps of other settings.

    ln v = ln t + w · φ

t is the second-order estimate of what an option loses (`tokenwise`), and φ describes where it errs: its size
(a loss saturates, and a large change is no longer one of second order), how sequences differ from single
tokens, how large the change is against the output and the hidden states, kind and depth. Values are monotone
afterwards: of options in one type, the one that keeps less loses no less. Types are in no order, because what
a type loses depends on the weights: where they lie on its grid it is nothing, whatever the number of bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import SlotValues
from rankadaptor.features.slot_features import CHANGE, FISHER, STREAM, TOKENWISE, SlotFeatures
from rankadaptor.predictor.prediction import Floats

if TYPE_CHECKING:
    from rankadaptor.space import Space

LEAST = 1e-6
"""Nats per token below which a loss counts as this."""
MATTERS = 1e-3
"""Nats per token at which an option has half its weight in the fit: smaller losses hardly change a sum."""
TYPICAL, LARGE = 0.03, 0.2
"""Nats per token around which the size is centred, and from which it counts as large."""
SPREAD, NOISE, OPTIONS = 0.3, 0.2, 80.0
"""Prior SD of the coefficients, SD of the rest of one option, and options that a setting counts at most."""


@dataclass(frozen=True)
class OptionMap:
    """The learned map; without coefficients, the second-order estimate itself.

    Attributes:
        weights: Coefficient by the name of a feature.
        residual: SD of ln v around it within the settings it was learned on.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    residual: float = 0.5

    def read_values(self, space: Space, features: SlotFeatures) -> SlotValues:
        """Return the slot values of a space.

        Raises:
            InputError: If the features belong to another space.
        """
        features.check_space(space)
        names, table = describe_options(space, features)
        weights = np.array([self.weights.get(name, 0.0) for name in names])
        log = _take_log(features.get(TOKENWISE)) + table @ weights
        values = np.where(features.get(TOKENWISE) > 0, np.exp(log), 0.0)
        rows = [
            make_monotone(values[index, : len(slot.options)], np.array(slot.coordinates, dtype=np.float64))
            for index, slot in enumerate(space.slots)
        ]
        return SlotValues.of_rows(space, [row.tolist() for row in rows])


def describe_options(space: Space, features: SlotFeatures) -> tuple[list[str], Floats]:
    """Return names and values `(n_slots, n_options, n)` of what the map reads."""
    log = _take_log(features.get(TOKENWISE))
    size = log - np.log(TYPICAL)
    relative = np.clip(_take_log(features.get(FISHER)) - log, -2.0, 2.0)
    change = np.log(np.maximum(features.get(CHANGE), LEAST))
    stream = np.log(np.maximum(features.get(STREAM), LEAST))
    columns: dict[str, Floats] = {
        "constant": np.ones_like(log),
        "size": 0.3 * size,
        "large": np.maximum(log - np.log(LARGE), 0.0),
        "sequence": relative,
        "change": 0.3 * change,
        "change, whole": np.maximum(change, -1.0) + 1.0,
        "stream": 0.3 * stream,
    }
    depth = space.tables.depth[:, None].astype(np.float64)
    kinds = np.array([slot.kind for slot in space.slots])
    for kind in sorted(set(kinds)):
        own = np.broadcast_to((kinds == kind)[:, None].astype(np.float64), log.shape)
        columns |= {
            f"{kind}": own,
            f"{kind}, depth": own * depth,
            f"{kind}, depth²": own * (depth**2 - 1 / 3),
            f"{kind}, size": 0.3 * own * size,
        }
    return list(columns), np.stack([np.broadcast_to(each, log.shape) for each in columns.values()], axis=-1)


def fit_option_map(
    settings: Sequence[tuple[Space, SlotFeatures, Mapping[int, Mapping[int, float]]]],
) -> OptionMap:
    """Learn the map from sweeps.

    Args:
        settings: Space, features, and measured losses in nats per token by slot and option, of each setting.
    """
    found: list[tuple[list[str], Floats, Floats, Floats]] = []
    for space, features, measured in settings:
        names, table = describe_options(space, features)
        log = _take_log(features.get(TOKENWISE))
        places = [(slot, option) for slot, own in measured.items() for option in own]
        index = tuple(np.array(places).T)
        losses = np.array([measured[slot][option] for slot, option in places])
        weight = losses / (losses + MATTERS)
        weight *= min(1.0, OPTIONS / weight.sum())
        target = np.log(np.maximum(losses, LEAST)) - log[index]
        found.append((names, table[index], target, weight))
    every = sorted({name for names, *_ in found for name in names})
    precision = np.eye(len(every)) / SPREAD**2
    vector = np.zeros(len(every))
    for names, table, target, weight in found:
        full = np.zeros((len(target), len(every)))
        full[:, [every.index(name) for name in names]] = table
        precision += (full * weight[:, None]).T @ full / NOISE**2
        vector += (full * weight[:, None]).T @ target / NOISE**2
    weights = dict(zip(every, np.linalg.solve(precision, vector).tolist(), strict=True))
    errors, total = 0.0, 0.0
    for names, table, target, weight in found:
        rest = target - table @ np.array([weights[name] for name in names])
        errors, total = errors + float(weight @ rest**2), total + float(weight.sum())
    return OptionMap(weights, (errors / total) ** 0.5 if total else 0.5)


def make_monotone(values: NDArray[np.float64], coordinates: Floats) -> Floats:
    """Return the mean of the smallest monotone values above and the largest below.

    Monotone is: of options in one type, one whose coordinates are all at least as far from zero loses no
    less. The last coordinate tells types apart: it is the rounding error of a type on normal numbers.
    """
    far, types = np.abs(coordinates), coordinates[:, -1]
    below = (far[:, None, :] >= far[None, :, :]).all(axis=-1)  # [a, b]: a is at least as far as b
    below &= types[:, None] == types
    upper = np.where(below, values[None, :], -np.inf).max(axis=1)
    lower = np.where(below.T, values[None, :], np.inf).min(axis=1)
    middle: Floats = (upper + lower) / 2
    return middle


def _take_log(values: Floats) -> Floats:
    log: Floats = np.log(np.maximum(values, LEAST))
    return log
