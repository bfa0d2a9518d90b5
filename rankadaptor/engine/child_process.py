"""The child process that runs the engine, seen from its parent: requests, answers, and how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from rankadaptor.errors import EngineError, InputError

LAST_LINES = 4
PATIENCE = 5.0  # seconds that the child has to end by itself
_PACKAGE = Path(__file__).parents[2]
_DOING = {
    "open": "read the file",
    "describe": "was loaded",
    "greedy": "generated tokens",
    "continue": "continued a text",
    "losses": "computed losses",
    "logits": "computed logits",
    "time": "measured speed",
}


class Child:
    """A process that runs `rankadaptor.engine.child`; it ends with this one, or when nobody refers to it.

    Args:
        name: What errors are about: the file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = _start(self._words)
        self._finish = weakref.finalize(self, _end, self._process, self._words)

    def ask(self, what: str, **request: Any) -> tuple[Any, npt.NDArray[Any]]:
        """Send a request and wait for the answer: a JSON-like value and numbers.

        Raises:
            InputError: If the process is closed, or the engine is not usable.
            EngineError: If the engine refuses the request or ends; the process is closed then.
        """
        if not self._finish.alive:
            raise InputError(f"{self.name}: this session is closed. Open a new one.")
        try:
            return self._exchange({"do": what, **request})
        except BaseException:  # also an interrupt, which leaves an answer in the pipe
            self.close()
            raise

    def close(self) -> None:
        """End the process."""
        self._finish()

    def _exchange(self, request: dict[str, Any]) -> tuple[Any, npt.NDArray[Any]]:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        try:
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            head = json.loads(_read(answers, None))
            numbers = np.empty(0)
            if "shape" in head:
                kind, shape = np.dtype(head["type"]), tuple(head["shape"])
                content = _read(answers, kind.itemsize * int(np.prod(shape)))
                numbers = np.frombuffer(content, dtype=kind).reshape(shape)
        except (EOFError, BrokenPipeError) as error:
            raise EngineError(self._describe_end(request["do"])) from error
        if "error" in head:
            if head["kind"] == InputError.__name__:
                raise InputError(head["error"])
            raise EngineError(f"{self.name}: {head['error']}. {self._quote()}")
        return head["value"], numbers

    def _describe_end(self, what: str) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        code = self._process.returncode
        how = "ended" if code is None or code >= 0 else f"was ended by {signal.Signals(-code).name}"
        return f"{self.name}: the engine {how} while it {_DOING[what]}. {self._quote()}"

    def _quote(self) -> str:
        """Return the engine's last words."""
        self._words.seek(0)
        text = self._words.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()][-LAST_LINES:]
        return "Its last words: " + " / ".join(lines) if lines else "It said nothing."


def _read(answers: IO[bytes], size: int | None) -> bytes:
    """Read so many bytes, or a line."""
    content = answers.readline() if size is None else answers.read(size)
    if len(content) != size if size is not None else not content.endswith(b"\n"):
        raise EOFError
    return content


def _start(words: IO[bytes]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(_PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "rankadaptor.engine.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=words,
        env={**os.environ, "PYTHONPATH": path, "GGML_NO_BACKTRACE": "1"},
    )


def _end(process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
    words.close()
