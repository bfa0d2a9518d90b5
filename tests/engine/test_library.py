"""The engine's library: found in the package or the folder that is named, and missed with a remedy."""

from __future__ import annotations

import sys

import pytest

from rankadaptor import InputError
from rankadaptor.engine.library import find_library, load


def test_the_package_is_used_unless_a_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("RANKADAPTOR_LLAMA", raising=False)
    library = find_library()
    assert (library.source, library.llama) == ("xllamacpp", library.base)
    monkeypatch.setenv("RANKADAPTOR_LLAMA", str(tmp_path))
    with pytest.raises(InputError, match=r"RANKADAPTOR_LLAMA=.*no libllama, libggml, libggml-base"):
        find_library()
    for name in ("libllama.so", "libggml.so", "libggml-base.v1.so"):
        (tmp_path / name).write_bytes(b"no library")
    library = find_library()
    assert (library.base.name, library.ggml.name) == ("libggml-base.v1.so", "libggml.so")
    with pytest.raises(InputError, match=r"libllama\.so: the engine does not load"):
        load(library.llama)


def test_without_an_engine_the_remedy_is_named(monkeypatch):
    monkeypatch.delenv("RANKADAPTOR_LLAMA", raising=False)
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(InputError, match=r"pip install \"xllamacpp.*or set RANKADAPTOR_LLAMA"):
        find_library()
