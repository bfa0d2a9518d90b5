"""Timings of the engine on probe files: a model's own shapes in each tensor type, with parts cut down."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rankadaptor.engine.file_plan import DECI, ModelShape, plan_file
from rankadaptor.engine.probe_file import write_probe
from rankadaptor.engine.session import Clock, EngineSession
from rankadaptor.engine.types import find_type
from rankadaptor.model.families import BlockShape

logger = logging.getLogger(__name__)

PROMPT, GENERATE = "prompt", "generate"
PHASES = (PROMPT, GENERATE)
DENSE, NARROW, FEW_HEADS, NO_ATTENTION, NO_MLP, HEAD = (
    "dense", "narrow MLP", "few heads", "no attention", "no MLP", "output head"
)  # fmt: skip
# A prompt computes, so a few blocks stand for all. A generated token reads all weights once, which has to be
# more than the processor's caches hold.
WEIGHTS = {PROMPT: 20_000_000, GENERATE: 100_000_000}
FEWEST_BLOCKS = 2
SMALL_VOCABULARY = 64


@dataclass(frozen=True)
class Timing:
    """How long the engine takes for one probe file.

    Attributes:
        phase: `prompt` or `generate`.
        type: Type of all its matrices.
        probe: What was cut down.
        attention: Parameters in matrices of attentions.
        mlp: Parameters in matrices of MLPs.
        output: Parameters of the output head.
        attentions: Number of blocks that have an attention.
        mlps: Number of blocks that have an MLP.
        ratio: Its time as a share of that of the base: the dense probe in the base type, measured in turn.
    """

    phase: str
    type: str
    probe: str
    attention: int
    mlp: int
    output: int
    attentions: int
    mlps: int
    ratio: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON-like dict."""
        return asdict(self)


@dataclass(frozen=True)
class ProbeSettings:
    """How probes are measured.

    Attributes:
        threads: Threads of the engine.
        prompt: Tokens of a prompt.
        generated: Tokens generated one by one.
        rounds: Times that every file is measured, in turn with the base; the shortest counts.
    """

    threads: int = 1
    prompt: int = 512
    generated: int = 48
    rounds: int = 3

    @property
    def clock(self) -> Clock:
        """With one thread the time that it computed, which other processes disturb least."""
        return "processor" if self.threads == 1 else "wall"


class Prober:
    """Measures types of one model, each in turn with the base; a context manager.

    Args:
        shape: Shape of the model; its widest block stands for all.
        config: Its Hugging Face configuration.
        base: The type that all others are measured in turn with.
        settings: How probes are measured.
    """

    def __init__(self, shape: ModelShape, config: Any, *, base: str, settings: ProbeSettings) -> None:
        self.shape, self.config, self.base, self.settings = shape, config, base, settings
        self._stack = contextlib.ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rankadaptor-")))
        self.base_seconds: dict[str, float] = {}
        self._bases = {phase: self._open(self._stack, self.cut(DENSE, phase, base), base) for phase in PHASES}

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cut(self, probe: str, phase: str, type_name: str) -> ModelShape:
        """Return the shape of a probe."""
        full = max(self.shape.blocks, key=lambda each: each.channels + each.heads * each.head_dim)
        group = max(1, full.heads // max(full.kv_heads, 1))
        step = max(32, find_type(type_name).block)
        hidden, channels = self.shape.hidden, full.channels
        weights = hidden * (3 * channels + 2 * (full.heads + full.kv_heads) * full.head_dim)
        count = min(len(self.shape.blocks), max(FEWEST_BLOCKS, -(-WEIGHTS[phase] // weights)))
        vocabulary = SMALL_VOCABULARY
        if probe == HEAD:
            read = min(WEIGHTS[phase], len(self.shape.blocks) * weights)  # as much as beside it in a model
            # An odd multiple: packing eight rows together depends on what divides their number.
            count, vocabulary = 1, (read // (hidden * self.shape.vocabulary) | 1) * self.shape.vocabulary
        elif probe == NARROW:
            full = replace(full, channels=max(step, channels // 2 // step * step))
        elif probe == FEW_HEADS:
            kept = next(n for n in range(1, full.kv_heads + 1) if n * group * full.head_dim % step == 0)
            full = replace(full, heads=kept * group, kv_heads=kept)
        elif probe == NO_ATTENTION:
            full = replace(full, heads=0, kv_heads=0)
        elif probe == NO_MLP:
            full = replace(full, channels=0)
        blocks = tuple(replace(full, block=index) for index in range(count))
        return replace(self.shape, vocabulary=vocabulary, blocks=blocks)

    def measure(self, type_name: str) -> list[Timing]:
        """Measure the probes of one type."""
        timings = []
        for phase in PHASES:
            probes = self._list_probes(phase, type_name)
            shapes = {probe: self.cut(probe, phase, type_name) for probe in probes}
            with contextlib.ExitStack() as stack:
                sessions = {probe: self._open(stack, shapes[probe], type_name) for probe in probes}
                seconds = self._time(phase, list(sessions.values()))
            if type_name == self.base:
                timings.append(
                    Timing(
                        phase,
                        type_name,
                        DENSE,
                        **_count(self.cut(DENSE, phase, type_name), type_name),
                        ratio=1.0,
                    )
                )
            timings += [
                Timing(phase, type_name, probe, **_count(shapes[probe], type_name), ratio=ratio)
                for probe, ratio in zip(probes, seconds, strict=True)
            ]
        return timings

    def _list_probes(self, phase: str, type_name: str) -> list[str]:
        probes = [NARROW, FEW_HEADS] + ([HEAD] if phase == GENERATE else [])
        if type_name != self.base:  # the base is measured anyway
            probes.append(DENSE)
        else:  # `openelm` has no blocks without attention
            probes += [NO_MLP] + ([NO_ATTENTION] if self.shape.architecture == DECI else [])
        return probes

    def _time(self, phase: str, sessions: Sequence[EngineSession]) -> list[float]:
        """Return the shortest time of each session as a share of the shortest of the base, in turn."""
        times: list[list[float]] = [[] for _ in (None, *sessions)]
        for _ in range(self.settings.rounds):
            for found, session in zip(times, (self._bases[phase], *sessions), strict=True):
                found.append(self._time_once(phase, session))
        base, *others = (min(found) for found in times)
        self.base_seconds[phase] = min(base, self.base_seconds.get(phase, base))
        return [other / base for other in others]

    def _time_once(self, phase: str, session: EngineSession) -> float:
        """Return seconds per token."""
        count = self.settings.prompt if phase == PROMPT else self.settings.generated
        tokens = {"prompt": 0, "generated": 0} | {"prompt" if phase == PROMPT else "generated": count}
        times = session.time_tokens(**tokens, clock=self.settings.clock)
        return times[phase][0] / count

    def _open(self, stack: contextlib.ExitStack, shape: ModelShape, type_name: str) -> EngineSession:
        path = self._folder / "probe.gguf"
        write_probe(shape, self.config, path, default_type=type_name)
        context = max(self.settings.prompt, self.settings.generated + 16)
        session = EngineSession(path, threads=self.settings.threads, context=context)
        path.unlink()  # the session has mapped it
        return stack.enter_context(session)


def count_parameters(shape: ModelShape, type_name: str) -> dict[str, int]:
    """Count the parameters in the matrices of attentions, MLPs and output head, as the file holds them."""
    found = dict.fromkeys(("attention", "mlp", "output"), 0)
    for tensor in plan_file(shape, [], default_type=type_name).tensors:
        if len(tensor.shape) == 2 and (part := find_part(tensor.name, tied=shape.tied)) is not None:
            found[part] += tensor.shape[0] * tensor.shape[1]
    return found


def find_part(tensor: str, *, tied: bool) -> str | None:
    """Return which part of a model a matrix belongs to; None if no token is multiplied with it."""
    if tensor.startswith("blk."):
        return "attention" if ".attn_" in tensor else "mlp"
    head = "token_embd.weight" if tied else "output.weight"
    return "output" if tensor == head else None


def _count(shape: ModelShape, type_name: str) -> dict[str, int]:
    blocks: Sequence[BlockShape] = shape.blocks
    return {
        **count_parameters(shape, type_name),
        "attentions": sum(block.heads > 0 for block in blocks),
        "mlps": sum(block.channels > 0 for block in blocks),
    }
