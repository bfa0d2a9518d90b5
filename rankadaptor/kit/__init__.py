"""The kit: a real model, real benchmarks and real text, from pinned packages of the Python index alone.

Everything is downloaded on the first use, checked, unpacked and kept in a cache (`RANKADAPTOR_HOME`).
"""

from rankadaptor.kit.benchmarks import BENCHMARKS, load_benchmark_rows
from rankadaptor.kit.inventory import KitPart, describe, ensure_all
from rankadaptor.kit.model import DERIVED_MODELS, MODELS, ensure_model
from rankadaptor.kit.packages import ensure_package
from rankadaptor.kit.pins import PACKAGES, Package
from rankadaptor.kit.texts import ROW_PACKAGES, format_alpaca, load_kit_rows

ROW_NAMES = tuple(ROW_PACKAGES)

__all__ = [
    "BENCHMARKS", "DERIVED_MODELS", "MODELS", "PACKAGES", "ROW_NAMES", "KitPart", "Package", "describe",
    "ensure_all", "ensure_model", "ensure_package", "format_alpaca", "load_benchmark_rows", "load_kit_rows",
]  # fmt: skip
