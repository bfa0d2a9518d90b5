"""How much of a model's weights a worker holds for itself, and how much it shares with its neighbours."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import build_measure
from rankadaptor.workers import open_local_pool, raise_fault

if TYPE_CHECKING:
    from rankadaptor.measure.fine_tune import ShortFineTune

_RANGE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)$")


@dataclass(frozen=True)
class Sharing:
    """Where the weights of one process lie.

    Attributes:
        weights: Bytes of all parameters.
        mapped: Bytes of those that lie in a mapped file, whose pages all processes share.
        private: Bytes that this process holds alone: parameters outside mapped files, and pages of the mapped
            ones that it has written to and so copied.
    """

    weights: int
    mapped: int
    private: int


@dataclass(frozen=True)
class _Mapping:
    first: int
    last: int
    file: str
    copied: int


def measure_sharing(model: Any) -> Sharing:
    """Say where this process holds the parameters of a model.

    Raises:
        InputError: If the system has no `/proc/self/smaps`; it is Linux that keeps it.
    """
    mappings = _read_mappings()
    firsts = [mapping.first for mapping in mappings]
    weights = mapped = 0
    touched: set[_Mapping] = set()
    for parameter in {parameter.data_ptr(): parameter for parameter in model.parameters()}.values():
        address, size = parameter.data_ptr(), parameter.numel() * parameter.element_size()
        weights += size
        place = bisect.bisect_right(firsts, address) - 1
        mapping = mappings[place] if place >= 0 else None
        if mapping is not None and address < mapping.last and mapping.file.startswith("/"):
            mapped += size
            touched.add(mapping)
    return Sharing(weights, mapped, weights - mapped + sum(mapping.copied for mapping in touched))


def probe_sharing(source: TrialSource, *, workers: int = 2) -> list[Sharing]:
    """Let each of several workers do one trial of uniform, and say where it holds the weights then."""
    with closing(open_local_pool(_build_probe, (source,), workers=workers)) as pool:
        for ticket in range(workers):
            pool.submit(ticket, ())
        found: list[Sharing] = []
        while len(found) < workers:
            for answer in pool.wait():
                if answer.fault is not None:
                    raise_fault(answer.fault)
                found.append(answer.value)
    return found


def _build_probe(source: TrialSource) -> Callable[[], Sharing]:
    measure: ShortFineTune = build_measure(source)

    def probe() -> Sharing:
        uniform = source.space.reference()
        measure.run_trial(uniform, seed=0, steps=source.steps, loss_uniform=None)
        return measure_sharing(measure.model)

    return probe


def _read_mappings() -> list[_Mapping]:
    try:
        text = Path("/proc/self/smaps").read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"/proc/self/smaps: not readable ({error}). This needs Linux.") from error
    found: list[_Mapping] = []
    for line in text.splitlines():
        if match := _RANGE.match(line):
            found.append(_Mapping(int(match[1], 16), int(match[2], 16), match[3], 0))
        elif line.startswith("Anonymous:"):
            last = found[-1]
            found[-1] = _Mapping(last.first, last.last, last.file, int(line.split()[1]) * 1024)
    return found
