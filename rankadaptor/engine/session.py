"""A GGUF file in the engine, run in a child process: greedy tokens, text, losses, speed."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from rankadaptor.defaults import COMPRESSION
from rankadaptor.engine.child_process import Child
from rankadaptor.engine.library import find_library
from rankadaptor.engine.llama import BEFORE_GENERATION
from rankadaptor.errors import InputError
from rankadaptor.requirements import XLLAMACPP

Clock = Literal["wall", "processor"]


@dataclass(frozen=True)
class Speed:
    """Tokens per second.

    Attributes:
        prompt: Of a prompt, all tokens at once.
        generate: Of generated tokens, one by one.
    """

    prompt: float
    generate: float


@dataclass(frozen=True)
class Engine:
    """What runs a file.

    Attributes:
        version: llama.cpp's version.
        source: The package and its version, or the folder, that the library comes from.
        features: What it uses of the processor, in llama.cpp's words.
    """

    version: str
    source: str
    features: str


class EngineSession:
    """One file in llama.cpp, in a process of its own; a context manager.

    If the engine ends, the session is closed and an error says so; the calling process goes on.

    Args:
        path: The GGUF file.
        threads: Threads that compute.
        context: Tokens that a sequence may have, generated ones included.
        cache: Type of the cached keys and values: `f16` with flash attention, llama.cpp's default; or `f32`
            without it, slower, for comparisons of single logits.

    Attributes:
        engine: What runs the file.
        vocabulary: Tokens in the vocabulary.
        parameters: Parameters that llama.cpp counts in the file.

    Raises:
        InputError: If there is no such file, an argument is out of range, or the engine is not installed.
        EngineError: If the engine refuses the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        context: int = 1024,
        cache: Literal["f16", "f32"] = "f16",
    ) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file. Give a GGUF file.")
        if threads < 1 or context < 1:
            raise InputError(f"threads={threads}, context={context}: both have to be at least 1.")
        if cache not in ("f16", "f32"):
            raise InputError(f"cache={cache!r}: choose f16 or f32.")
        find_library()
        self.context = context
        self._child = Child(str(self.path))
        facts, _ = self._child.ask("open", path=str(self.path), threads=threads, context=context, cache=cache)
        self.engine = _read_engine(facts)
        self.vocabulary: int = facts["vocabulary"]
        self.parameters: int = facts["parameters"]

    def greedy(self, tokens: Sequence[int], count: int) -> list[int]:
        """Continue tokens by the most likely next one, `count` times, without stopping at an end token.

        Raises:
            InputError: If tokens are no token ids, or more than the context holds.
            EngineError: If the engine ends.
        """
        if count < 1:
            raise InputError(f"count={count}: ask for at least one token.")
        found, _ = self._child.ask("greedy", tokens=self._check(tokens, more=count - 1), count=count)
        return [int(token) for token in found]

    def generate(
        self, text: str, count: int, *, temperature: float = COMPRESSION.sample_temperature, seed: int = 0
    ) -> str:
        """Continue a text with the file's own tokenizer.

        Args:
            text: The text.
            count: Tokens at most.
            temperature: What the logits are divided by before a token is drawn from the 40 likeliest; 0 takes
                the likeliest, which small models repeat.
            seed: Seed of the draws.

        Returns:
            The continuation alone; shorter if the model ends the text.

        Raises:
            InputError: If the text is empty, or its tokens and `count` more do not fit the context.
            EngineError: If the engine ends.
        """
        if not text or count < 1 or not 0 <= temperature < float("inf"):
            raise InputError(
                f"text {text!r}, count={count}, temperature={temperature}: give a text, at least one token, "
                "and a temperature of 0 or more."
            )
        tokens, _ = self._child.ask("tokenise", text=text)
        self._check(tokens, more=count - 1)
        found, _ = self._child.ask("continue", text=text, count=count, temperature=temperature, seed=seed)
        return str(found)

    def token_losses(self, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return the loss of every token but the first, (tokens - 1,) nats.

        Raises:
            InputError: As of `greedy`; or if there are fewer than two tokens.
            EngineError: If the engine ends.
        """
        if len(tokens) < 2:
            raise InputError(f"{len(tokens)} tokens: a loss needs at least two.")
        return self._child.ask("losses", tokens=self._check(tokens))[1].astype(np.float64)

    def logits(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the logits after every token, (tokens, vocabulary).

        Raises:
            InputError: As of `greedy`.
            EngineError: If the engine ends.
        """
        return self._child.ask("logits", tokens=self._check(tokens))[1].astype(np.float32)

    def measure_speed(
        self, prompt: int = 512, generated: int = 48, repeats: int = 3, *, clock: Clock = "wall"
    ) -> Speed:
        """Measure tokens per second on random tokens: the best of some repeats.

        Args:
            prompt: Tokens of the prompt.
            generated: Tokens generated one by one, after a short prompt that is not counted.
            repeats: How often each is measured.
            clock: `wall`; or `processor`, the time that the threads computed, which other processes disturb
                less, divided by nothing: it says more than `wall` only with one thread.

        Raises:
            InputError: If a number is below 1 or the context is too short.
            EngineError: If the engine ends.
        """
        if min(prompt, generated, repeats) < 1:
            raise InputError(f"prompt={prompt}, generated={generated}, repeats={repeats}: at least 1 each.")
        times = self.time_tokens(prompt=prompt, generated=generated, repeats=repeats, clock=clock)
        return Speed(prompt / min(times["prompt"]), generated / min(times["generate"]))

    def time_tokens(
        self, *, prompt: int, generated: int, repeats: int = 1, clock: Clock = "wall", seed: int = 0
    ) -> dict[str, list[float]]:
        """Return the seconds of every repeat: of `prompt` tokens at once, and of `generated` ones one by one.

        Numbers of 0 leave a phase out. See `measure_speed`, which returns tokens per second.
        """
        needed = max(prompt, generated + BEFORE_GENERATION)
        if needed > self.context:
            raise InputError(
                f"prompt={prompt} and generated={generated} need a context of at least {needed}; "
                f"this session has {self.context}. Open it with context={needed}."
            )
        times, _ = self._child.ask(
            "time", prompt=prompt, generated=generated, repeats=repeats, clock=clock, seed=seed
        )
        return {phase: [float(each) for each in seconds] for phase, seconds in times.items()}

    def close(self) -> None:
        """End the child process; a closed session answers nothing more."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, tokens: Sequence[int], *, more: int = 0) -> list[int]:
        ids = [int(token) for token in tokens]
        if not ids:
            raise InputError("no tokens: give at least one.")
        if len(ids) + more > self.context:
            raise InputError(
                f"{len(ids)} tokens and {more} more do not fit a context of {self.context}. "
                f"Open the session with context={len(ids) + more}."
            )
        if wrong := [token for token in ids if not 0 <= token < self.vocabulary]:
            raise InputError(f"{wrong[0]} is no token id of {self.path} (0 to {self.vocabulary - 1}).")
        return ids


def find_engine() -> Engine:
    """Return which engine would run a file.

    Raises:
        InputError: If none is installed or it does not load.
        EngineError: If it ends.
    """
    find_library()
    child = Child("the engine")
    try:
        return _read_engine(child.ask("describe")[0])
    finally:
        child.close()


def _read_engine(facts: dict[str, Any]) -> Engine:
    source = facts["source"]
    if source == XLLAMACPP.distribution:
        source = f"{source} {importlib.metadata.version(source)}"
    return Engine(facts["version"], source, facts["features"])
