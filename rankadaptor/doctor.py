"""Is this machine ready? Versions, processor, memory, disk, kit, predictor, tracking store, network."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rankadaptor.runtime import choose_compute, count_cores, find_home, read_free_memory

PYTHON = (3, 11)
NEEDED_GIGABYTES = 3.0
META_EXTRA = "learn2learn"
_STORE_REMEDY = "Set track.uri or MLFLOW_TRACKING_URI to a store that works, or track.enabled: false."


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What was looked at.
        state: `ok`; `note` (works, with a limit worth knowing); `missing` (something needed is not there).
        found: What was found.
        remedy: What to do about it; empty if nothing.
    """

    name: str
    state: str
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the fields as a JSON-like dict."""
        return asdict(self)


def examine(*, network: bool = False, tracking: str | Path | None = None) -> list[Check]:
    """Look at everything a run needs.

    Args:
        network: Also ask the package index for an answer.
        tracking: Where MLflow keeps its data; None takes `MLFLOW_TRACKING_URI`, else `mlruns`.
    """
    checks = [check_python(), *check_packages(), *check_imports(), check_meta_learning()]
    checks.append(check_engine())
    checks += [
        check_torch(),
        check_processor(),
        check_memory(),
        check_disk(),
        *check_kit(),
        check_predictor(),
        check_tracking(tracking),
    ]
    return [*checks, check_index()] if network else checks


def check_python() -> Check:
    """Compare Python's version with the oldest supported one."""
    found = platform.python_version()
    if sys.version_info[:2] >= PYTHON:
        return Check("python", "ok", found)
    return Check("python", "missing", found, f"Use Python {'.'.join(map(str, PYTHON))} or newer.")


def check_packages() -> Iterator[Check]:
    """Compare the installed packages with what this package's metadata asks for."""
    from packaging.requirements import Requirement

    try:
        wanted = importlib.metadata.requires("rankadaptor") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            "packages", "missing", "rankadaptor is not installed", "Run pip install -e . in the checkout."
        )
        return
    faults, count = [], 0
    for line in wanted:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append((requirement, "absent"))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append((requirement, version))
    if not faults:
        yield Check("packages", "ok", f"all {count} in the versions asked for")
    for requirement, version in faults:
        wish = f"{requirement.name}{requirement.specifier}"
        yield Check(f"package {requirement.name}", "missing", version, f'pip install "{wish}"')


def check_imports() -> Iterator[Check]:
    """Import the packages that single features need, and name those that are installed but do not load."""
    from rankadaptor.errors import InputError
    from rankadaptor.requirements import MLFLOW, REQUIREMENTS, XLLAMACPP, is_installed, load_package
    from rankadaptor.tracking.store import load_mlflow

    for requirement in REQUIREMENTS:
        if requirement is XLLAMACPP:
            continue  # started by check_engine
        if not is_installed(requirement):
            continue  # an absent one is named by check_packages, unless it belongs to an extra
        try:
            load_mlflow() if requirement is MLFLOW else load_package(requirement)
        except InputError as error:
            yield Check(f"package {requirement.distribution}", "note", str(error))


def check_engine() -> Check:
    """Start llama.cpp, which packs weights and runs GGUF files, in a process of its own."""
    from rankadaptor.engine import find_engine
    from rankadaptor.errors import RankAdaptorError

    try:
        engine = find_engine()
    except RankAdaptorError as error:
        return Check("engine", "note", str(error), "Needed only for GGUF files that llama.cpp runs.")
    return Check("engine", "ok", f"llama.cpp {engine.version} ({engine.source})")


def check_meta_learning() -> Check:
    """See whether learn2learn, which meta-training prefers, is installed."""
    try:
        return Check("learn2learn", "ok", importlib.metadata.version(META_EXTRA))
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "learn2learn",
            "note",
            "absent; meta-training uses torch.func, with the same results",
            "in a checkout: pip install ./third_party/learn2learn",
        )


def check_torch() -> Check:
    """Say which build of torch this is and where it would compute."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("torch", "missing", f"does not import ({error})", 'pip install "torch>=2.6,<2.14"')
    compute = choose_compute()
    build = "CUDA build" if torch.version.cuda else "CPU build"
    found = (
        f"{torch.__version__} ({build}); computes on {compute.device} in {compute.dtype}: {compute.reason}"
    )
    if torch.version.cuda and not torch.cuda.is_available():
        return Check(
            "torch", "note", found, "The CUDA build sees no device: check the driver, or go on on the CPU."
        )
    return Check("torch", "ok", found)


def check_processor() -> Check:
    """Count the cores this process may use."""
    cores = count_cores()
    advice = f"compute.workers up to {cores} with compute.threads 1" if cores > 1 else ""
    return Check("processor", "ok", f"{platform.machine()}, {cores} core(s) for this process", advice)


def check_memory() -> Check:
    """Compare free memory with what one trial of the kit's model takes."""
    free = read_free_memory()
    if free is None:
        return Check("memory", "note", "free memory cannot be read on this system")
    state = "ok" if free > NEEDED_GIGABYTES * 1e9 else "note"
    remedy = (
        "" if state == "ok" else "Lower recipe.micro_batch_size and compute.workers; plan shows the memory."
    )
    return Check("memory", state, f"{free / 1e9:.1f} GB free", remedy)


def check_disk() -> Check:
    """Compare free disk space under the cache folder with what the kit takes."""
    home = find_home()
    existing = next(path for path in (home, *home.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free >= NEEDED_GIGABYTES:
        return Check("disk", "ok", f"{free:.1f} GB free for the kit and its models")
    return Check(
        "disk",
        "missing",
        f"{free:.1f} GB free of {NEEDED_GIGABYTES:.0f} needed",
        "Free space, or set RANKADAPTOR_HOME to a folder on another disk.",
    )


def check_kit() -> Iterator[Check]:
    """Say which parts of the kit are on this machine; the others are downloaded when first used."""
    from rankadaptor.kit import describe

    parts = describe()
    present = [part for part in parts if part.present]
    absent = [part for part in parts if not part.present and part.fault == "absent"]
    if present:
        yield Check("kit", "ok", f"here: {', '.join(part.name for part in present)}")
    if absent:
        size = sum(part.download_megabytes for part in absent)
        names = ", ".join(part.name for part in absent)
        yield Check(
            "kit", "note", f"not here yet: {names}", f"Fetched when first used, {size:.0f} MB to download."
        )
    for part in parts:
        if not part.present and part.fault != "absent":
            yield Check(f"kit {part.name}", "note", part.fault or "damaged", "Built again when next used.")


def check_predictor() -> Check:
    """Read the trained predictor that comes with the package."""
    from rankadaptor.errors import CheckpointError
    from rankadaptor.predictor import MetaPredictor

    try:
        card = MetaPredictor.default().card
    except CheckpointError as error:
        return Check("predictor", "missing", str(error), "Install rankadaptor again.")
    return Check("predictor", "ok", f"trained on {card.get('summary', 'an unnamed corpus')}")


def check_tracking(target: str | Path | None) -> Check:
    """See whether the store that runs are logged to works; nothing is made in it."""
    from rankadaptor.errors import RankAdaptorError
    from rankadaptor.tracking import explain_choice, knock, locate_store

    try:
        store = locate_store(target)
        if store.folder is not None and not store.exists:
            folder = next(path for path in (store.folder, *store.folder.parents) if path.exists())
            with tempfile.NamedTemporaryFile(dir=folder):
                found = f"{store.shown}, made at the first run"
        else:
            knock(store)
            found = f"{store.shown} answers"
    except RankAdaptorError as error:
        return Check("mlflow store", "missing", str(error), _STORE_REMEDY)
    except OSError as error:
        fault = f"{store.shown}: {error.strerror or error}"
        return Check("mlflow store", "missing", fault, _STORE_REMEDY)
    return Check("mlflow store", "ok", f"{found} ({explain_choice(store)})")


def check_index(timeout: float = 5.0) -> Check:
    """Ask pip's package index for an answer."""
    import http.client
    import urllib.error
    import urllib.request

    address = _find_index()
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/pip/", timeout=timeout):
            return Check("package index", "ok", "answers")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        return Check("package index", "note", f"does not answer ({reason})", "Needed only to fetch the kit.")


def _find_index() -> str:
    """Return the index that pip is set to, without credentials in it."""
    import subprocess
    import urllib.parse

    given = os.environ.get("PIP_INDEX_URL")
    if not given:
        answer = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
        )
        given = answer.stdout.strip()
    parts = urllib.parse.urlsplit(given or "https://pypi.org/simple")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
