"""llama.cpp's C functions on one file; for a session's child process, which a fault in C would end.

Structures change between releases. They are passed as oversized blocks that llama.cpp itself fills with its
defaults, and the few fields that are set are found by these defaults.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankadaptor.engine.library import EngineLibrary, load
from rankadaptor.errors import EngineError

WORDS = 128
BATCH = 512
LIKELIEST = 40  # tokens that one is drawn from, as in llama.cpp's own program
TOKENS_AROUND = 8  # that a tokenizer may put before and after a text
BEFORE_GENERATION = 16  # tokens before those whose generation is timed
CONTEXT_DEFAULTS = (512, 2048, 512)  # n_ctx, n_batch, n_ubatch: the first three fields
MINUS_ONE = -1082130432  # the bits of -1.0, the default of the fields before the types of the cache
CACHE_TYPES = {"f32": 0, "f16": 1}
LOSS_MEMORY = 64 << 20  # bytes of logits held at a time while losses are computed
WARNING, ERROR = 3, 4  # levels of ggml's log

Clock = Callable[[], float]


class _Block(ctypes.Structure):
    _fields_ = (("words", ctypes.c_int32 * WORDS),)


class _Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_HANDLE = ctypes.c_void_p
_SIGNATURES: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
    ("llama_backend_init", None, ()),
    ("llama_model_default_params", _Block, ()),
    ("llama_context_default_params", _Block, ()),
    ("llama_model_load_from_file", _HANDLE, (ctypes.c_char_p, _Block)),
    ("llama_init_from_model", _HANDLE, (_HANDLE, _Block)),
    ("llama_model_get_vocab", _HANDLE, (_HANDLE,)),
    ("llama_vocab_n_tokens", ctypes.c_int32, (_HANDLE,)),
    ("llama_vocab_is_eog", ctypes.c_bool, (_HANDLE, ctypes.c_int32)),
    (
        "llama_tokenize",
        ctypes.c_int32,
        (
            _HANDLE,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.POINTER(ctypes.c_int32),
            ctypes.c_int32,
            ctypes.c_bool,
            ctypes.c_bool,
        ),
    ),
    (
        "llama_detokenize",
        ctypes.c_int32,
        (
            _HANDLE,
            ctypes.POINTER(ctypes.c_int32),
            ctypes.c_int32,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_bool,
            ctypes.c_bool,
        ),
    ),
    ("llama_model_size", ctypes.c_uint64, (_HANDLE,)),
    ("llama_model_n_params", ctypes.c_uint64, (_HANDLE,)),
    ("llama_n_ctx", ctypes.c_uint32, (_HANDLE,)),
    ("llama_n_batch", ctypes.c_uint32, (_HANDLE,)),
    ("llama_set_n_threads", None, (_HANDLE, ctypes.c_int32, ctypes.c_int32)),
    ("llama_decode", ctypes.c_int32, (_HANDLE, _Batch)),
    ("llama_synchronize", None, (_HANDLE,)),
    ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), (_HANDLE, ctypes.c_int32)),
    ("llama_get_memory", _HANDLE, (_HANDLE,)),
    ("llama_memory_clear", None, (_HANDLE, ctypes.c_bool)),
    ("llama_batch_init", _Batch, (ctypes.c_int32,) * 3),
    ("llama_print_system_info", ctypes.c_char_p, ()),
)


class Llama:
    """A model in llama.cpp with one context.

    Args:
        library: The compiled library.
        threads: Threads that compute.
        context: Tokens that a sequence may have.
        cache: Type of the keys and values that are kept: `f16` with flash attention, llama.cpp's default; or
            `f32` without it, which rounds nothing to float16.

    Raises:
        EngineError: If the library is unlike any known one or refuses the file.
    """

    def __init__(
        self, library: EngineLibrary, path: Path, *, threads: int, context: int, cache: str = "f16"
    ) -> None:
        self.functions = functions = bind(library)
        self.model = functions.llama_model_load_from_file(
            str(path).encode(), functions.llama_model_default_params()
        )
        if not self.model:
            raise EngineError("the engine refuses the file")
        parameters = _fill_context(functions.llama_context_default_params(), context, cache)
        self.handle = functions.llama_init_from_model(self.model, parameters)
        if not self.handle:
            raise EngineError("the engine cannot open a context")
        if functions.llama_n_ctx(self.handle) < context or functions.llama_n_batch(self.handle) < BATCH:
            raise EngineError("the engine did not take the context length: its version is unknown here")
        functions.llama_set_n_threads(self.handle, threads, threads)
        self._vocabulary = functions.llama_model_get_vocab(self.model)
        self.vocabulary = int(functions.llama_vocab_n_tokens(self._vocabulary))
        self._batch = functions.llama_batch_init(BATCH, 0, 1)

    def describe(self) -> dict[str, Any]:
        """Return facts on the engine and the model, JSON-like."""
        return {
            **describe_functions(self.functions),
            "vocabulary": self.vocabulary,
            "parameters": int(self.functions.llama_model_n_params(self.model)),
            "bytes": int(self.functions.llama_model_size(self.model)),
        }

    def clear(self) -> None:
        """Forget the sequence."""
        self.functions.llama_memory_clear(self.functions.llama_get_memory(self.handle), True)

    def run(self, tokens: Sequence[int], *, start: int, every: bool = False) -> npt.NDArray[np.float32]:
        """Compute the logits after the last token, or after every one: (1 or tokens, vocabulary).

        Args:
            tokens: At most `BATCH` tokens that continue the sequence.
            start: Position of the first of them.
            every: Return logits after every token.
        """
        batch, count = self._batch, len(tokens)
        batch.n_tokens = count
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = every or index == count - 1
        status = self.functions.llama_decode(self.handle, batch)
        if status:
            raise EngineError(f"the engine cannot compute {count} tokens at position {start} (code {status})")
        self.functions.llama_synchronize(self.handle)
        rows = range(count) if every else (count - 1,)
        return np.stack([self._read_logits(row) for row in rows])

    def feed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Start a sequence with tokens and return the logits after the last one, (1, vocabulary)."""
        self.clear()
        starts = range(0, len(tokens), BATCH)
        return [self.run(tokens[start : start + BATCH], start=start) for start in starts][-1]

    def compute_greedy(self, tokens: Sequence[int], count: int) -> list[int]:
        """Continue tokens by the most likely one, `count` times."""
        found: list[int] = []
        logits = self.feed(tokens)
        while True:
            found.append(int(logits[0].argmax()))
            if len(found) == count:
                return found
            logits = self.run(found[-1:], start=len(tokens) + len(found) - 1)

    def tokenise(self, text: str) -> list[int]:
        """Return a text's tokens, with those that the file's tokenizer puts around one; none is a marker."""
        encoded = text.encode()
        size = len(encoded) + TOKENS_AROUND  # no token is shorter than a byte
        tokens = (ctypes.c_int32 * size)()
        count = self.functions.llama_tokenize(
            self._vocabulary, encoded, len(encoded), tokens, size, True, False
        )
        if count < 0:
            raise EngineError(f"the engine's tokenizer made {-count} tokens of {len(encoded)} bytes")
        return list(tokens[:count])

    def to_text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; markers such as the one at the beginning have none."""
        given = (ctypes.c_int32 * len(tokens))(*tokens)
        size = 16 * len(tokens) + 1
        for _ in range(2):
            text = ctypes.create_string_buffer(size)
            count = self.functions.llama_detokenize(
                self._vocabulary, given, len(tokens), text, size, True, False
            )
            if count >= 0:
                return text.raw[:count].decode(errors="replace")
            size = -count
        raise EngineError(f"the engine cannot write {len(tokens)} tokens as text")

    def continue_text(self, text: str, count: int, *, temperature: float, seed: int) -> str:
        """Continue a text by at most `count` tokens; an end token ends it. See `EngineSession.generate`."""
        tokens, generator = self.tokenise(text), np.random.default_rng(seed)
        found: list[int] = []
        logits = self.feed(tokens)
        while len(found) < count:
            token = draw_token(logits[0], temperature=temperature, generator=generator)
            if self.functions.llama_vocab_is_eog(self._vocabulary, token):
                break
            found.append(token)
            if len(found) < count:
                logits = self.run(found[-1:], start=len(tokens) + len(found) - 1)
        # Written together, because a tokenizer may drop a space at the beginning.
        return self.to_text([*tokens, *found])[len(self.to_text(tokens)) :]

    def compute_losses(self, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
        """Return the losses of all tokens but the first, in nats."""
        self.clear()
        step = min(BATCH, max(16, LOSS_MEMORY // (4 * self.vocabulary)))
        losses = []
        for start in range(0, len(tokens) - 1, step):
            piece = tokens[start : min(start + step, len(tokens) - 1)]
            logits = self.run(piece, start=start, every=True).astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            wanted = np.asarray(tokens[start + 1 : start + 1 + len(piece)])
            losses.append(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(piece)), wanted])
        return np.concatenate(losses)

    def compute_logits(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the logits after every token, (tokens, vocabulary)."""
        self.clear()
        starts = range(0, len(tokens), BATCH)
        pieces = [self.run(tokens[start : start + BATCH], start=start, every=True) for start in starts]
        return np.concatenate(pieces)

    def time_prompt(self, tokens: Sequence[int], *, clock: Clock = time.perf_counter) -> float:
        """Return the seconds that a prompt takes."""
        self.clear()
        begun = clock()
        for start in range(0, len(tokens), BATCH):
            self.run(tokens[start : start + BATCH], start=start)
        return clock() - begun

    def time_generation(
        self, prompt: Sequence[int], tokens: Sequence[int], *, clock: Clock = time.perf_counter
    ) -> float:
        """Return the seconds that tokens take one by one, after a prompt that is not counted."""
        self.feed(prompt)
        begun = clock()
        for index, token in enumerate(tokens):
            self.run((token,), start=len(prompt) + index)
        return clock() - begun

    def _read_logits(self, row: int) -> npt.NDArray[np.float32]:
        pointer = self.functions.llama_get_logits_ith(self.handle, row)
        return np.ctypeslib.as_array(pointer, (self.vocabulary,)).copy()


def draw_token(logits: npt.NDArray[np.float32], *, temperature: float, generator: np.random.Generator) -> int:
    """Draw a token from the `LIKELIEST` likeliest; at temperature 0 return the likeliest."""
    if temperature == 0:
        return int(logits.argmax())
    chosen = np.argsort(-logits, kind="stable")[:LIKELIEST]
    shares = np.exp((logits[chosen] - logits[chosen[0]]).astype(np.float64) / temperature)
    return int(generator.choice(chosen, p=shares / shares.sum()))


def bind(library: EngineLibrary) -> Any:
    """Load the library, give its functions their types, and send its warnings to the standard error."""
    functions = load(library.llama)
    for name, result, arguments in _SIGNATURES:
        function = getattr(functions, name, None)
        if function is None:
            raise EngineError(f"{library.llama.name} lacks the function {name}: its version is unknown here")
        function.restype, function.argtypes = result, list(arguments)
    log = getattr(functions, "llama_log_set", None)
    if log is not None:
        functions.keep = _LOG(_write_log)  # as long as the library may call it
        log(functions.keep, None)
    if library.ggml != library.llama:  # one backend per processor in the folder: the fitting one is loaded
        backends = load(library.ggml).ggml_backend_load_all_from_path
        backends.restype, backends.argtypes = None, [ctypes.c_char_p]
        backends(str(library.ggml.parent).encode())
    functions.llama_backend_init()
    return functions


def _write_log(level: int, text: bytes, _: Any) -> None:
    if level in (WARNING, ERROR):
        sys.stderr.write(text.decode(errors="replace"))
        sys.stderr.flush()


def describe_functions(functions: Any) -> dict[str, str]:
    """Return the version of a library and what it uses of the processor."""
    features = functions.llama_print_system_info().decode(errors="replace").strip(" |")
    function = getattr(functions, "llama_version", None)
    if function is None:
        return {"version": "unknown", "features": features}
    function.restype = ctypes.c_char_p
    return {"version": str(function().decode(errors="replace")), "features": features}


def _fill_context(parameters: Any, context: int, cache: str) -> Any:
    words = parameters.words
    if tuple(words[:3]) != CONTEXT_DEFAULTS:
        raise EngineError(f"the engine's defaults are {tuple(words[:3])}: its version is unknown here")
    words[0], words[1], words[2] = max(context, BATCH), BATCH, BATCH
    if cache != "f16":
        words[_find(words, (-1,) * 4, what="flash attention") + 3] = 0  # it rounds to float16 as well
        last = _find(words, (MINUS_ONE,), what="the last factor of the rotation", backwards=True)
        place = _find(words, (1, 1), what="the types of the cache", start=last)
        words[place] = words[place + 1] = CACHE_TYPES[cache]
    return parameters


def _find(words: Any, pattern: tuple[int, ...], *, what: str, start: int = 0, backwards: bool = False) -> int:
    places = range(start, WORDS // 2)
    for place in reversed(places) if backwards else places:
        if tuple(words[place : place + len(pattern)]) == pattern:
            return place
    raise EngineError(f"the option of {what} is not found: the engine's version is unknown here")
