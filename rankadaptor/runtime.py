"""Where a computation runs, in which precision, on how many threads, and why."""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def _is_no_advice_on_kernels(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Failed to load CPU gemm_4bit_forward")


# On processors with AVX512-BF16, bitsandbytes recommends a package of kernels as soon as peft imports it. The
# kernels multiply weights in a layout that is never used here, see `pruning.quantisation.keep_unpacked`.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_is_no_advice_on_kernels)

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16")
QUANTISED = ("int8", "nf4")
BFLOAT16 = "RANKADAPTOR_BFLOAT16"
"""Environment variable that says what the processor does with bfloat16, in place of asking it."""
NATIVE, EMULATED = "native", "emulated"
CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Linux's names of the features with which a processor multiplies bfloat16, on x86 and ARM."""
REPORTED_PACKAGES = (
    "torch", "transformers", "peft", "scikit-learn", "xgboost", "learn2learn", "datasets", "pandas",
    "lm-eval", "mlflow",
)  # fmt: skip


@dataclass(frozen=True)
class Compute:
    """A device, a precision for the frozen weights and activations, and a thread count.

    Attributes:
        device: `cpu` or `cuda`.
        dtype: `float32` or `bfloat16`; adapters train in float32 either way.
        threads: CPU threads for matrix products; 1 makes runs repeat to every printed digit.
        reason: One sentence for the log.
        quantise: `int8` or `nf4`: precision that the frozen linears of a model are loaded in, for products in
            `dtype`; None for `dtype` itself.
    """

    device: str
    dtype: str
    threads: int
    reason: str
    quantise: str | None = None

    @property
    def torch_dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        import torch

        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32

    def apply(self) -> None:
        """Set this process's thread count and log the choice once."""
        import torch

        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        stored = f", frozen linears in {self.quantise}" if self.quantise else ""
        _log_once(f"compute: {self.device} {self.dtype}{stored}, {self.threads} thread(s): {self.reason}")


@functools.cache
def _log_once(message: str) -> None:
    logger.info(message)


def choose_compute(
    *, device: str = "auto", dtype: str = "auto", threads: int = 1, quantise: str | None = None
) -> Compute:
    """Pick device and precision, and say why.

    bfloat16 is chosen only where the processor multiplies it natively: elsewhere it is emulated and several
    times slower than float32. `RANKADAPTOR_BFLOAT16=native` or `=emulated` answers in place of the processor.

    Raises:
        InputError: If a name is unknown, the device is absent, or `RANKADAPTOR_BFLOAT16` has another value.
    """
    import torch

    if device not in DEVICES or dtype not in DTYPES:
        raise InputError(f"device={device!r}, dtype={dtype!r}: allowed are {DEVICES} and {DTYPES}.")
    if quantise is not None and quantise not in QUANTISED:
        raise InputError(f"quantise={quantise!r}: allowed are None and {QUANTISED}.")
    if threads < 1:
        raise InputError(f"threads={threads}: must be at least 1.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda', but this torch sees no CUDA device. Use device='auto' or 'cpu'.")
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    if chosen == "cuda":
        what = torch.cuda.get_device_name()
    else:
        what = "no CUDA device" if device == "auto" else "asked for the CPU"
    native = has_native_bfloat16(device=chosen)
    if dtype == "auto":
        precision = "bfloat16" if native else "float32"
        why = "native bfloat16" if native else "no native bfloat16"
        if given := read_bfloat16():
            why += f", as {BFLOAT16}={given} says"
    else:
        precision, why = dtype, f"asked for {dtype}"
    return Compute(
        device=chosen, dtype=precision, threads=threads, reason=f"{what}; {why}", quantise=quantise
    )


def has_native_bfloat16(*, device: str = "cpu") -> bool:
    """Tell whether a device multiplies bfloat16 itself; `RANKADAPTOR_BFLOAT16` answers in its place if set.

    Raises:
        InputError: If `RANKADAPTOR_BFLOAT16` has another value than native and emulated.
    """
    if given := read_bfloat16():
        return given == NATIVE
    if device == "cuda":
        import torch

        # Torch counts emulation as support unless asked; GPUs before Ampere are far slower in it.
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(CPU_FLAGS & read_cpu_flags())


def read_bfloat16() -> str | None:
    """Return what `RANKADAPTOR_BFLOAT16` says, `native` or `emulated`; None if it is not set or empty.

    Raises:
        InputError: If it has another value.
    """
    given = os.environ.get(BFLOAT16, "").strip()
    if given not in ("", NATIVE, EMULATED):
        raise InputError(
            f"{BFLOAT16}={given!r}: allowed are {NATIVE} and {EMULATED}. Unset it to ask the processor."
        )
    return given or None


def read_cpu_flags() -> frozenset[str]:
    """Return the processor's feature flags as Linux names them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def read_free_memory() -> int | None:
    """Return the bytes of memory that are free for new processes; None where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, flags=re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def find_home() -> Path:
    """Return the cache folder for the kit: `RANKADAPTOR_HOME`, else the user's cache folder."""
    if given := os.environ.get("RANKADAPTOR_HOME"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rankadaptor"


@functools.cache
def find_commit() -> str:
    """Return the short commit this package runs from, with `+` if it has changes, or `unknown`.

    A package installed into an environment inside somebody's repository is not of that repository.
    """
    file = Path(__file__).resolve()
    folder = file.parent
    import subprocess

    try:
        _ask_git(folder, "ls-files", "--error-unmatch", "--", file.name)
        head = _ask_git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _ask_git(folder, "status", "--porcelain", "--", str(folder))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _ask_git(folder: Path, *arguments: str) -> str:
    import subprocess

    answer = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def count_cores() -> int:
    """Return the cores this process may use, which in a container are fewer than the machine's."""
    ask: Callable[[int], Any] | None = getattr(os, "sched_getaffinity", None)
    return len(ask(0)) if ask is not None else os.cpu_count() or 1


def fit_workers(workers: int, *, threads: int) -> int:
    """Return how many of `workers` processes of `threads` threads find a core for each thread; at least one.

    More of them only slow each other down, several times over where every thread waits for the others.
    """
    return max(1, min(workers, count_cores() // threads))


def describe_environment() -> dict[str, Any]:
    """Describe versions and machine kind for a result file; no paths and no host names."""
    import importlib.metadata
    import platform

    from rankadaptor import __version__

    versions = {}
    for name in REPORTED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "rankadaptor": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "packages": versions,
        "commit": find_commit(),
    }
