"""How long the engine takes for a model on this machine: a sum over its parts, fitted to measurements.

The time of a token is a constant for each attention and each MLP (norms, activations, the graph) and, for
each tensor type, so many nanoseconds per parameter of attentions, of MLPs and of the output head. Query heads
go with the parameters of their attention, so attention over the context is in the time per parameter. Prompts
and generation have numbers of their own. The embedding is looked up and costs nothing.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankadaptor.engine.file_plan import FilePlan, ModelShape
from rankadaptor.engine.model_fields import read_shape
from rankadaptor.engine.session import Engine, find_engine
from rankadaptor.engine.types import find_type
from rankadaptor.errors import InputError
from rankadaptor.files import compute_digest, read_json, write_json
from rankadaptor.measure.latency_probes import (
    DENSE,
    GENERATE,
    PHASES,
    PROMPT,
    Prober,
    ProbeSettings,
    Timing,
    find_part,
)
from rankadaptor.progress import format_seconds
from rankadaptor.runtime import find_home

logger = logging.getLogger(__name__)

SCHEMA = 1
PARTS = ("attention", "mlp", "output")
NARROW_MATRIX = 128  # rows or columns of a matrix of zeros that stands for a removed part, at most


@dataclass(frozen=True)
class TokenTime:
    """Nanoseconds per token.

    Attributes:
        prompt: Of a prompt.
        generate: Of generated tokens.
    """

    prompt: int
    generate: int


@dataclass(frozen=True)
class LatencyModel:
    """Time per token of any widths and types of one model, on one engine and machine.

    Attributes:
        engine: What ran the probes.
        machine: Where.
        settings: How the probes were measured; predictions are for as many tokens and threads.
        rates: Phase → part (`attention`, `mlp`, `output`) → type → nanoseconds per parameter and token.
        constants: Phase → `attention` or `mlp` → nanoseconds per token of each one that is there.
        errors: Phase → largest relative error of the fit over the probes.
    """

    engine: Engine
    machine: str
    settings: ProbeSettings
    rates: Mapping[str, Mapping[str, Mapping[str, float]]]
    constants: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, float]

    @property
    def types(self) -> tuple[str, ...]:
        """The types that were measured."""
        return tuple(self.rates[PROMPT]["mlp"])

    def count_nanoseconds(self, kind: str, parameters: int, type_name: str, phase: str) -> int:
        """Return the time of matrices per token.

        Args:
            kind: `attention`, `mlp`, `output`, or `embedding`, which costs nothing.
            parameters: Parameters in the matrices, as the file holds them.
            type_name: Their type.
            phase: `prompt` or `generate`. A prompt computes the output head once.

        Raises:
            InputError: If the type was not measured or a name is unknown.
        """
        if phase not in PHASES or kind not in (*PARTS, "embedding"):
            raise InputError(
                f"kind={kind!r}, phase={phase!r}: kinds are {', '.join(PARTS)}, embedding; phases are "
                f"{', '.join(PHASES)}."
            )
        if kind == "embedding":
            return 0
        rates = self.rates[phase][kind]
        name = find_type(type_name).name
        if name not in rates:
            raise InputError(
                f"the time of type {name} was not measured. Measured are {', '.join(rates)}. "
                f"Fit the latency with types=[..., {name!r}]."
            )
        return round(rates[name] * parameters)

    def time_part(
        self, part: str, matrices: Sequence[tuple[int, int, str]], *, heads: int = 0
    ) -> dict[str, int]:
        """Return `prompt_nanoseconds` and `generate_nanoseconds` of one part of a model, per token.

        Args:
            part: `attention` or `mlp` of one block, `output`, `embedding` or `fixed`.
            matrices: (rows, columns, type) of what it multiplies with; none where it is left out.
            heads: Not needed: query heads are counted with the parameters.

        Raises:
            InputError: If a type was not measured.
        """
        del heads
        found = {}
        for phase in PHASES:
            total = 0.0
            if part in PARTS:
                total = sum(self._time_matrix(part, *matrix, phase=phase) for matrix in matrices)
                total += self.constants[phase].get(part, 0.0) if matrices else 0.0
            found[f"{phase}_nanoseconds"] = round(total)
        return found

    def predict(self, shape: ModelShape, plan: FilePlan) -> TokenTime:
        """Return the time per token of a file.

        Args:
            shape: Its shape.
            plan: Its tensors.

        Raises:
            InputError: If a type was not measured.
        """
        parts: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        for tensor in plan.tensors:
            part = find_part(tensor.name, tied=shape.tied)
            if part is not None and len(tensor.shape) == 2:
                place = ".".join(tensor.name.split(".")[:2])
                parts.setdefault((place, part), []).append((*tensor.shape, tensor.type))
        times = [self.time_part(part, matrices) for (_, part), matrices in parts.items()]
        return TokenTime(
            prompt=sum(each["prompt_nanoseconds"] for each in times),
            generate=sum(each["generate_nanoseconds"] for each in times),
        )

    def _time_matrix(self, part: str, rows: int, columns: int, type_name: str, *, phase: str) -> float:
        if type_name not in self.types and min(rows, columns) <= NARROW_MATRIX:
            return max(self.rates[phase][part].values()) * rows * columns
        return self.count_nanoseconds(part, rows * columns, type_name, phase)


def fit_latency(
    model: Any,
    types: Sequence[str],
    *,
    threads: int = 1,
    prompt: int = 512,
    generated: int = 48,
    rounds: int = 3,
    home: Path | None = None,
) -> LatencyModel:
    """Measure the engine on this machine in the shapes of a model, or read what was measured before.

    What was measured is kept in the cache folder (`RANKADAPTOR_HOME`) by engine, machine, model shape and
    settings; only types that are not there yet are measured, in turn with the first.

    Args:
        model: A causal language model; its weights do not matter.
        types: Tensor types that its files may have.
        threads: Threads of the engine.
        prompt: Tokens of the prompts that are measured.
        generated: Tokens generated one by one.
        rounds: Times that every probe is measured; the shortest counts.
        home: Another cache folder.

    Raises:
        InputError: If the engine is not installed, or a type does not fit the widths of the model.
        EngineError: If the engine ends.
        StorageError: If probe files or the measurements cannot be written.
    """
    names = list(dict.fromkeys(find_type(each).name for each in types))
    if not names or min(threads, prompt, generated, rounds) < 1:
        raise InputError(
            f"types={list(types)}, threads={threads}, prompt={prompt}, generated={generated}, "
            f"rounds={rounds}: give at least one type, and numbers of at least 1."
        )
    shape = read_shape(model)
    settings = ProbeSettings(threads=threads, prompt=prompt, generated=generated, rounds=rounds)
    engine, machine = find_engine(), describe_machine()
    facts = {
        "schema": SCHEMA,
        "engine": asdict(engine),
        "machine": machine,
        "settings": asdict(settings),
        "shape": _describe_shape(shape),
    }
    path = (home or find_home()) / "latency" / f"{compute_digest(facts)}.json"
    timings, seconds = read_timings(path)
    known = list(dict.fromkeys(timing.type for timing in timings))
    missing = [name for name in names if name not in known]
    if missing:
        begun = time.perf_counter()
        base = (known or names)[0]
        with Prober(shape, model.config, base=base, settings=settings) as prober:
            for count, name in enumerate(missing, start=1):
                timings += prober.measure(name)
                logger.info("latency of %s measured (%d of %d types)", name, count, len(missing))
            seconds = seconds or dict(prober.base_seconds)
        write_json(
            path,
            {**facts, "base_seconds": seconds, "timings": [timing.to_json() for timing in timings]},
        )
        logger.info("latency measured in %s", format_seconds(time.perf_counter() - begun))
    rates, constants, errors = fit_rates(timings, seconds, prompt=prompt)
    return LatencyModel(engine, machine, settings, rates, constants, errors)


def fit_rates(
    timings: Sequence[Timing], base_seconds: Mapping[str, float], *, prompt: int
) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, dict[str, float]], dict[str, float]]:
    """Fit rates and constants to timings by non-negative least squares of relative errors.

    Args:
        timings: Of all probes.
        base_seconds: Phase → seconds per token of the base.
        prompt: Tokens of a prompt, over which its one output head is spread.

    Returns:
        Rates, constants and largest relative errors, as of `LatencyModel`.
    """
    import numpy as np
    from scipy.optimize import nnls

    types = list(dict.fromkeys(timing.type for timing in timings))
    rates: dict[str, dict[str, dict[str, float]]] = {}
    constants: dict[str, dict[str, float]] = {}
    errors: dict[str, float] = {}
    for phase in PHASES:
        rows = [timing for timing in timings if timing.phase == phase]
        parts = ("attention", "mlp") if phase == PROMPT else PARTS
        names = [(part, name) for part in parts for name in types]
        matrix = np.zeros((len(rows), len(names) + 2))
        for row, timing in enumerate(rows):
            for column, (part, name) in enumerate(names):
                if name == timing.type:
                    matrix[row, column] = getattr(timing, part)
            matrix[row, -2:] = timing.attentions, timing.mlps
            matrix[row] /= timing.ratio * base_seconds[phase] * 1e9
        scale = matrix.max(axis=0)
        scale[scale == 0] = 1.0
        found = nnls(matrix / scale, np.ones(len(rows)))[0] / scale
        errors[phase] = float(np.abs(matrix @ found - 1).max())
        rates[phase] = {part: {} for part in parts}
        for (part, name), value in zip(names, found, strict=False):
            rates[phase][part][name] = float(value)
        constants[phase] = {"attention": float(found[-2]), "mlp": float(found[-1])}
    heads = rates[GENERATE]["output"]
    rates[PROMPT]["output"] = {name: value / prompt for name, value in heads.items()}
    return rates, constants, errors


def describe_machine() -> str:
    """Name the processor and its number of cores."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def _describe_shape(shape: ModelShape) -> dict[str, Any]:
    widest = max(shape.blocks, key=lambda each: each.channels + each.heads * each.head_dim)
    return {
        "architecture": shape.architecture,
        "vocabulary": shape.vocabulary,
        "hidden": shape.hidden,
        "tied": shape.tied,
        "biases": list(shape.biases),
        "blocks": len(shape.blocks),
        "widths": [widest.heads, widest.kv_heads, widest.head_dim, widest.channels],
    }


def read_timings(path: Path) -> tuple[list[Timing], dict[str, float]]:
    """Read timings and the seconds of their base; nothing, with a warning, from a file that is damaged."""
    if not path.is_file():
        return [], {}
    try:
        stored = read_json(path)
        timings = [Timing(**each) for each in stored["timings"]]
        seconds = {phase: float(stored["base_seconds"][phase]) for phase in PHASES}
        if not any(timing.probe == DENSE for timing in timings):
            raise KeyError(DENSE)
    except (InputError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s: not usable (%s); the latency is measured again", path, error)
        return [], {}
    return timings, seconds
