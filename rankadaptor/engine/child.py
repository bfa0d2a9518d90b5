"""The program of a session's child process: requests as JSON lines in, answers as JSON lines and numbers out.

Run as `python -m rankadaptor.engine.child`. It ends with its standard input, so with its parent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rankadaptor.engine.library import find_library
from rankadaptor.engine.llama import BEFORE_GENERATION, Llama, bind, describe_functions
from rankadaptor.errors import RankAdaptorError

WARM_UP = 32
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


class Service:
    """Answers requests with one model."""

    def __init__(self) -> None:
        self.llama: Llama | None = None
        self._warm = False

    def answer(self, request: dict[str, Any]) -> tuple[Any, npt.NDArray[Any] | None]:
        """Do what a request asks; returns a JSON-like value and numbers, or None."""
        name = request.pop("do")
        if name == "describe":
            library = find_library()
            return {"source": library.source, **describe_functions(bind(library))}, None
        if name == "open":
            return self._open(**request), None
        assert self.llama is not None
        if name == "greedy":
            return self.llama.compute_greedy(request["tokens"], request["count"]), None
        if name == "tokenise":
            return self.llama.tokenise(request["text"]), None
        if name == "continue":
            return self.llama.continue_text(**request), None
        if name == "losses":
            return None, self.llama.compute_losses(request["tokens"])
        if name == "logits":
            return None, self.llama.compute_logits(request["tokens"])
        return self._time(self.llama, **request), None

    def _open(self, path: str, **options: Any) -> dict[str, Any]:
        library = find_library()
        self.llama = Llama(library, Path(path), **options)
        return {"source": library.source, **self.llama.describe()}

    def _time(
        self, llama: Llama, prompt: int, generated: int, repeats: int, clock: str, seed: int
    ) -> dict[str, list[float]]:
        """Return the seconds of each repeat, of the prompt and of the generated tokens."""
        size = max(prompt, generated, WARM_UP)
        tokens = np.random.default_rng(seed).integers(0, llama.vocabulary, size).tolist()
        now = CLOCKS[clock]
        if not self._warm:  # the first use of weights reads them from the file
            llama.time_prompt(tokens[:WARM_UP])
            self._warm = True
        start = tokens[:BEFORE_GENERATION]
        return {
            "prompt": [
                llama.time_prompt(tokens[:prompt], clock=now) for _ in range(repeats if prompt else 0)
            ],
            "generate": [
                llama.time_generation(start, tokens[:generated], clock=now)
                for _ in range(repeats if generated else 0)
            ],
        }


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    service = Service()
    for line in requests:
        numbers: npt.NDArray[Any] | None = None
        try:
            value, numbers = service.answer(json.loads(line))
            head = {"value": value}
        except RankAdaptorError as error:
            head = {"error": str(error), "kind": type(error).__name__}
        if numbers is not None:
            head |= {"shape": list(numbers.shape), "type": numbers.dtype.str}
        answers.write(json.dumps(head).encode() + b"\n")
        if numbers is not None:
            answers.write(np.ascontiguousarray(numbers).tobytes())
        answers.flush()


def main() -> None:
    """Serve on what was the standard output; the engine's own output goes to the standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
