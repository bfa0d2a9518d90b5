"""Build the torch-only core of learn2learn 0.2.0 as `0.2.0+core`.

learn2learn 0.2.0 no longer builds on Python 3.11 and later: its archive ships C code made by an old Cython,
and it asks for gym, gsutil, torchvision and qpth (which wants numpy < 2). MAML and MetaSGD need none of that.
This PEP 517 backend downloads the archive from the package index, checks its SHA-256, keeps the pure-Python
files of `algorithms`, `utils`, `nn` and `optim` and the MIT licence, and packs them as a wheel. No code of
learn2learn lies in this repository.

    pip install ./third_party/learn2learn -e ".[meta,test]"
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

UPSTREAM = "0.2.0"
VERSION = f"{UPSTREAM}+core"
SHA256 = "69f1d7cb0d0a6be7a2c6ad8e83e2ebbe70fb05e51d61e45e63078b40c75ea419"
NAME = f"learn2learn-{VERSION}"
DIST_INFO = f"{NAME}.dist-info"
KEPT_FILES = {f"algorithms/{name}.py" for name in ("base_learner", "maml", "meta_sgd", "gbml")} | {
    "utils/__init__.py"
}
KEPT_FOLDERS = ("nn/", "optim/")

METADATA = f"""Metadata-Version: 2.1
Name: learn2learn
Version: {VERSION}
Summary: The torch-only core of learn2learn {UPSTREAM}, repacked without its optional parts
License: MIT
Requires-Python: >=3.8
Requires-Dist: torch
Requires-Dist: numpy
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: build_core\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PACKAGE_INIT = f"""from . import algorithms, nn, optim
from .utils import clone_module, detach_module, update_module

__version__ = {VERSION!r}
"""
ALGORITHMS_INIT = """from .gbml import GBML
from .maml import MAML, maml_update
from .meta_sgd import MetaSGD, meta_sgd_update
"""


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """Ask for nothing beyond what pyproject.toml lists."""
    return []


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: dict[str, Any] | None = None
) -> str:
    """Write the metadata without downloading anything."""
    for name, content in _describe_wheel().items():
        path = Path(metadata_directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return DIST_INFO


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Download, select and pack; returns the wheel's file name."""
    files = {
        "learn2learn/__init__.py": PACKAGE_INIT.encode(),
        "learn2learn/algorithms/__init__.py": ALGORITHMS_INIT.encode(),
    }
    files |= _select_files(_download_archive())
    files |= _describe_wheel()
    files[f"{DIST_INFO}/RECORD"] = _record_files(files)
    wheel = f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, wheel), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2023, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return wheel


def _describe_wheel() -> dict[str, bytes]:
    return {f"{DIST_INFO}/METADATA": METADATA.encode(), f"{DIST_INFO}/WHEEL": WHEEL.encode()}


def _download_archive() -> bytes:
    # A nested pip must not see the hook variables of the pip that runs this backend: pip >= 26 would build
    # this project again.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("_PYPROJECT_HOOKS", "PEP517_"))}
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"learn2learn=={UPSTREAM} --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        command += [
            "--no-binary",
            ":all:",
            "--require-hashes",
            "--dest",
            folder,
            "--requirement",
            str(requirements),
        ]
        try:
            subprocess.run(command, check=True, env=environment)
        except subprocess.CalledProcessError as error:
            raise SystemExit(
                f"learn2learn {UPSTREAM} could not be fetched from the package index (pip download ended with "
                f"{error.returncode}). It is optional: without the extra 'meta' the same steps run on torch.func."
            ) from error
        return Path(folder, f"learn2learn-{UPSTREAM}.tar.gz").read_bytes()


def _select_files(archive: bytes) -> dict[str, bytes]:
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar.getmembers():
            name = member.name.removeprefix(f"learn2learn-{UPSTREAM}/")
            module = name.removeprefix("learn2learn/")
            wanted = module in KEPT_FILES or (module.startswith(KEPT_FOLDERS) and module.endswith(".py"))
            if name != "LICENSE" and not (name != module and wanted):
                continue
            stream = tar.extractfile(member)
            if stream is not None:
                files[f"{DIST_INFO}/licenses/LICENSE" if name == "LICENSE" else name] = stream.read()
    return files


def _record_files(files: dict[str, bytes]) -> bytes:
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return ("".join(lines) + f"{DIST_INFO}/RECORD,,\n").encode()
