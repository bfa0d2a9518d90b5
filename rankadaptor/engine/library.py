"""The compiled library of llama.cpp: where it lies, and its functions for packing weights."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankadaptor.errors import InputError
from rankadaptor.requirements import XLLAMACPP, check_package

VARIABLE = "RANKADAPTOR_LLAMA"
_SUFFIXES = (".so", ".dylib")


@dataclass(frozen=True)
class EngineLibrary:
    """The shared objects that hold llama.cpp.

    Attributes:
        llama: The file with the functions `llama_*`.
        ggml: The file with `ggml_backend_*`.
        base: The file with `ggml_*`; all three are one file where the library was linked so.
        source: Where it comes from, for messages and results.
    """

    llama: Path
    ggml: Path
    base: Path
    source: str


def find_library() -> EngineLibrary:
    """Find the library: in the folder that `RANKADAPTOR_LLAMA` names, else in the package xllamacpp.

    Raises:
        InputError: If the folder holds no llama.cpp, or there is neither a folder nor the package.
    """
    if given := os.environ.get(VARIABLE):
        return _find_in_folder(Path(given).expanduser())
    check_package(XLLAMACPP)
    spec = importlib.util.find_spec(XLLAMACPP.module)
    places = spec.submodule_search_locations if spec is not None else None
    found = [path for place in places or () for path in sorted(Path(place).glob("xllamacpp*.so"))]
    if not found:
        raise InputError(
            f"the package {XLLAMACPP.distribution} is installed but holds no library (xllamacpp*.so). "
            f"Install it again, or set {VARIABLE} to a folder with llama.cpp's libraries."
        )
    return EngineLibrary(found[0], found[0], found[0], source=XLLAMACPP.distribution)


def _find_in_folder(folder: Path) -> EngineLibrary:
    def find(stem: str) -> Path | None:
        names = [f"{stem}{suffix}" for suffix in _SUFFIXES]
        names += [f"{stem}.*{suffix}" for suffix in _SUFFIXES] + [f"{stem}.so.*"]
        return next((path for name in names for path in sorted(folder.glob(name))), None)

    llama, ggml, base = find("libllama"), find("libggml"), find("libggml-base")
    if llama is None or ggml is None or base is None:
        lacks = [
            stem
            for stem, path in (("libllama", llama), ("libggml", ggml), ("libggml-base", base))
            if path is None
        ]
        raise InputError(
            f"{VARIABLE}={folder}: this is no folder with llama.cpp's libraries (no {', '.join(lacks)}). "
            "Give the folder that holds them all, or unset the variable to use the package xllamacpp."
        )
    return EngineLibrary(llama, ggml, base, source=str(folder))


@dataclass(frozen=True)
class Quantiser:
    """llama.cpp's own packing of weights; a pure function, so it runs in this process."""

    prepare: Callable[[int], None]
    chunk: Callable[..., int]

    def pack(
        self,
        values: npt.NDArray[np.float32],
        type_number: int,
        importance: npt.NDArray[np.float32] | None,
        *,
        count: int,
    ) -> npt.NDArray[np.uint8]:
        """Pack a contiguous (rows, columns) matrix into `count` bytes; see `quantise` for the checks."""
        rows, columns = values.shape
        packed = np.zeros(count, dtype=np.uint8)
        weights = None if importance is None else importance.ctypes.data
        self.prepare(type_number)
        written = self.chunk(type_number, values.ctypes.data, packed.ctypes.data, 0, rows, columns, weights)
        if written != count:
            raise RuntimeError(f"the engine wrote {written} bytes of type {type_number} instead of {count}")
        return packed


@functools.lru_cache(maxsize=4)
def _load_quantiser(library: EngineLibrary) -> Quantiser:
    class Parameters(ctypes.Structure):
        _fields_ = (
            ("mem_size", ctypes.c_size_t),
            ("mem_buffer", ctypes.c_void_p),
            ("no_alloc", ctypes.c_bool),
        )

    loaded = load(library.base)
    # ggml fills its table of float16 values when the first context is made.
    loaded.ggml_init.restype = ctypes.c_void_p
    loaded.ggml_init.argtypes = [Parameters]
    loaded.ggml_free.argtypes = [ctypes.c_void_p]
    loaded.ggml_free(loaded.ggml_init(Parameters(1 << 16, None, True)))
    loaded.ggml_quantize_init.restype = None
    loaded.ggml_quantize_init.argtypes = [ctypes.c_int]
    chunk = loaded.ggml_quantize_chunk
    chunk.restype = ctypes.c_size_t
    chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    return Quantiser(prepare=loaded.ggml_quantize_init, chunk=chunk)


def load_quantiser() -> Quantiser:
    """Return llama.cpp's packing of weights.

    Raises:
        InputError: If the engine is not installed or does not load.
    """
    return _load_quantiser(find_library())


def load(path: Path) -> Any:
    """Load one shared object; its symbols stay its own.

    Raises:
        InputError: If the system cannot load it; the message has the reason.
    """
    try:
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)
    except OSError as error:
        needed = (
            " It needs the system's libgomp: apt-get install libgomp1." if "libgomp" in str(error) else ""
        )
        raise InputError(
            f"{path}: the engine does not load ({error}). Install the package xllamacpp again, or set "
            f"{VARIABLE} to a folder with llama.cpp's libraries for this system.{needed}"
        ) from error
