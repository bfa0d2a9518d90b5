"""Planned and measured latency of files of several widths and types, as ratios to the dense model."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.components.composition import LiveModel, build_space
from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.engine.session import EngineSession
from rankadaptor.features import SlotValues
from rankadaptor.measure import fit_latency
from rankadaptor.pipeline.compression.simple_rules import OneType, choose_blocks, choose_share
from rankadaptor.search import solve_exact
from rankadaptor.space import Allocation, Space

TYPES = ("Q8_0", "Q4_0")
PROMPT, GENERATED = 256, 32
PHASES = ("prompt", "generate")
LIMIT = "0.7x"
CONTEXT = 512
Row = dict[str, Any]


def measure_latency_errors(model: Any, tokenizer: Any, *, rounds: int) -> list[Row]:
    """Measure files at a limit of 0.7 of the dense model's time, in turn with it.

    Returns:
        A row per file: shares of the dense model's time per token, planned and measured, and the error.
    """
    fitted = fit_latency(model, TYPES, prompt=PROMPT, generated=GENERATED, rounds=rounds)
    space = build_space(
        model, precision=TYPES, tokenizer=tokenizer, limits={"latency": LIMIT}, latency_model=fitted
    )
    live, dense = LiveModel(model), space.reference()
    rows = []
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        base = stack.enter_context(_open(live, tokenizer, dense, Path(place) / "dense.gguf"))
        for name, allocation in list_allocations(space).items():
            with _open(live, tokenizer, allocation, Path(place) / "file.gguf") as session:
                measured = time_in_turn(session, base, rounds=rounds)
            planned = {
                phase: allocation.cost(f"{phase}_nanoseconds") / dense.cost(f"{phase}_nanoseconds")
                for phase in PHASES
            }
            errors = {phase: planned[phase] / measured[phase] - 1 for phase in PHASES}
            rows.append(
                {
                    "part": "latency", "file": name, "limit": LIMIT,
                    **{f"{phase}_planned": planned[phase] for phase in PHASES},
                    **{f"{phase}_measured": measured[phase] for phase in PHASES},
                    **{f"{phase}_error": errors[phase] for phase in PHASES},
                }
            )  # fmt: skip
    return rows


def list_allocations(space: Space) -> dict[str, Allocation]:
    """Return allocations of different kinds inside the limits of a space."""
    found = {}
    for kind in TYPES:
        found[f"uniform widths, {kind}"] = choose_share(OneType.of_space(space, kind))
    order = np.random.default_rng(0).permutation(1 + max(slot.block or 0 for slot in space.slots)).tolist()
    found[f"blocks dropped, {TYPES[0]}"] = choose_blocks(OneType.of_space(space, TYPES[0]), order=order)
    values = SlotValues.of_rows(
        space, [np.random.default_rng(1).uniform(size=len(slot.options)).tolist() for slot in space.slots]
    )
    found["any widths and types"] = solve_exact(space, values)
    return {name: Allocation(tuple(choices), space) for name, choices in found.items()}


def time_in_turn(session: EngineSession, base: EngineSession, *, rounds: int) -> dict[str, float]:
    """Return the shortest time of a session as a share of the base's, by phase."""
    shortest: dict[str, list[float]] = {phase: [float("inf")] * 2 for phase in PHASES}
    for _ in range(rounds):
        for place, each in enumerate((session, base)):
            times = each.time_tokens(prompt=PROMPT, generated=GENERATED, clock="processor")
            for phase in PHASES:
                shortest[phase][place] = min(shortest[phase][place], *times[phase])
    return {phase: own / other for phase, (own, other) in shortest.items()}


def _open(live: LiveModel, tokenizer: Any, allocation: Allocation, path: Path) -> EngineSession:
    model, types = live.extract(allocation)
    write_gguf(model, tokenizer, path, types=types)
    return EngineSession(path, threads=1, context=CONTEXT)
