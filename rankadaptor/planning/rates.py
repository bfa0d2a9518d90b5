"""Speed of matrix products on this machine, typical or measured, without torch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rankadaptor.planning.costs import Cost
from rankadaptor.runtime import EMULATED, count_cores, has_native_bfloat16, read_bfloat16

if TYPE_CHECKING:
    from rankadaptor.config.sections import ComputeSection

# One thread of a current server core next to a busy one, measured with large matrices
# (experiments/results/scale.json); on a quiet machine it is up to 95e9.
FLOAT32_RATE = 80e9
BFLOAT16_GAIN = 205 / 95
# A data-centre GPU on matrices of this project's size, far below its peak.
CUDA_RATE = 30e12
# Share of that speed in a trial, whose matrices are smaller: (float32, bfloat16).
PRODUCT_SHARES = (0.97, 0.85)
# Numbers a second that norms, activations and softmax read or write: one CPU thread, a data-centre GPU.
CPU_NUMBERS, CUDA_NUMBERS = 1.4e9, 4e11
PROCESS_BYTES = 520_000_000  # Python with torch, transformers and peft loaded


@dataclass(frozen=True)
class Rate:
    """Speed of one trial's process.

    Attributes:
        flops: Floating-point operations a second in large matrix products.
        bytes_per_weight: Size of one frozen weight.
        source: Where the figure comes from, in words.
    """

    flops: float
    bytes_per_weight: int
    source: str

    @property
    def dtype(self) -> str:
        """Precision of the frozen weights."""
        return "bfloat16" if self.bytes_per_weight == 2 else "float32"

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU's."""
        return self.flops >= CUDA_RATE

    def compute_seconds(self, cost: Cost) -> float:
        """Return how long one process takes."""
        share = PRODUCT_SHARES[self.bytes_per_weight == 2]
        numbers = CUDA_NUMBERS if self.on_gpu else CPU_NUMBERS
        return cost.operations / (self.flops * share) + cost.moved / numbers


def choose_rate(compute: ComputeSection, *, measure: bool = False, seconds: float = 1.0) -> Rate:
    """Return the speed of one process.

    Args:
        compute: The run's compute section.
        measure: Multiply matrices for `seconds` instead of using a typical value.
        seconds: How long to measure.
    """
    if compute.device == "cuda" or (
        compute.device == "auto" and Path("/proc/driver/nvidia/version").exists()
    ):
        # Only torch can identify the GPU; most multiply bfloat16.
        whole = compute.dtype == "float32" or (compute.dtype == "auto" and read_bfloat16() == EMULATED)
        return Rate(CUDA_RATE, 4 if whole else 2, "a typical value for a GPU; not measured")
    native = has_native_bfloat16()
    brief = compute.dtype == "bfloat16" or (compute.dtype == "auto" and native)
    # Emulated bfloat16 is slower than float32.
    gain = (BFLOAT16_GAIN if native else 0.3) if brief else 1.0
    threads = min(compute.threads, count_cores())
    if measure:
        flops, source = measure_matmul(threads=threads, seconds=seconds), "measured on this machine just now"
    else:
        flops, source = FLOAT32_RATE * threads, "a typical value; plan --measure measures this machine"
    return Rate(flops * gain, 2 if brief else 4, f"{source}; {'bfloat16' if brief else 'float32'}")


def measure_matmul(*, threads: int = 1, seconds: float = 1.0, size: int = 1024) -> float:
    """Multiply float32 matrices for about `seconds` and return the operations a second."""
    import numpy as np
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    generator = np.random.default_rng(0)
    left = generator.standard_normal((size, size), dtype=np.float32)
    right = generator.standard_normal((size, size), dtype=np.float32)
    with threadpool_limits(limits=threads):
        left @ right
        count, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds or not count:
            left @ right
            count += 1
    return float(2.0 * size**3 * count / elapsed)
