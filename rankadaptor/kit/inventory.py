"""What the kit holds, what of it is here, under which licence; and fetching all of it at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rankadaptor.kit.folders import find_fault
from rankadaptor.kit.model import MODELS, ensure_model, locate_model, name_model_digest
from rankadaptor.kit.packages import ensure_package, locate_package
from rankadaptor.kit.pins import PACKAGES
from rankadaptor.runtime import find_home


@dataclass(frozen=True)
class KitPart:
    """One part of the kit and its state in the cache.

    Attributes:
        name: Package with its version, or model.
        kind: `package` or `model`.
        holds: What it is for.
        licence: Licence of the package and of what it holds.
        download_megabytes: Size of the download; 0 for what is made from another part.
        disk_megabytes: Disk space used now.
        present: Whether it is whole.
        fault: What is wrong if it is not: `absent`, `unfinished`, or the file at fault. The next use
            builds it again.
    """

    name: str
    kind: str
    holds: str
    licence: str
    download_megabytes: float
    disk_megabytes: float
    present: bool
    fault: str | None


def describe(*, thorough: bool = False) -> list[KitPart]:
    """List the kit's parts and their state, without downloading or changing anything.

    Args:
        thorough: Compare the SHA-256 of every file (seconds), not only its size.
    """
    home = find_home()
    parts = []
    for package in PACKAGES.values():
        folder = locate_package(package, home=home)
        fault = find_fault(folder, digest=package.sha256, thorough=thorough)
        parts.append(
            KitPart(
                package.requirement, "package", package.holds, package.licence, package.megabytes,
                _measure_megabytes(folder), fault is None, fault,
            )
        )  # fmt: skip
    for name, source in MODELS.items():
        folder = locate_model(name, home=home)
        fault = find_fault(folder, digest=name_model_digest(name), thorough=thorough)
        parts.append(
            KitPart(
                f"kit:{name}", "model", f"{PACKAGES[source].holds}, dequantised to float32",
                PACKAGES[source].licence, 0.0, _measure_megabytes(folder), fault is None, fault,
            )
        )  # fmt: skip
    return parts


def ensure_all() -> list[KitPart]:
    """Download, check and convert everything (about 330 MB to download, 750 MB on disk) and list it.

    Raises:
        StorageError: If something cannot be downloaded or written; what is already here stays.
    """
    for name in PACKAGES:
        ensure_package(name)
    for name in MODELS:
        ensure_model(name)
    return describe()


def _measure_megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
