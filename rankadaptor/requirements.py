"""Packages that single features need: loaded where they are used, and named with a remedy where they fail.

Everything else works without them, whether they are absent or installed but broken.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import re
import sys
from dataclasses import dataclass
from typing import Any

from rankadaptor.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Requirement:
    """A package that one feature needs.

    Attributes:
        module: Name that it is imported by.
        distribution: Name that pip knows it by.
        feature: What needs it.
        instead: How to go on without it.
        parts: Submodules that the feature uses, where the package itself imports little.
    """

    module: str
    distribution: str
    feature: str
    instead: str
    parts: tuple[str, ...] = ()


BITSANDBYTES = Requirement("bitsandbytes", "bitsandbytes", "quantise", "leave quantise out")
LM_EVAL = Requirement(
    "lm_eval",
    "lm-eval",
    "evaluation on benchmarks",
    "set evaluate.benchmarks: []",
    parts=("lm_eval.evaluator", "lm_eval.models.huggingface", "lm_eval.tasks"),
)
MLFLOW = Requirement("mlflow", "mlflow", "tracking with MLflow", "set track.enabled: false")
RAY = Requirement("ray", "ray", "a cluster (on every node)", "set compute.executor: local")
XGBOOST = Requirement(
    "xgboost",
    "xgboost",
    "the predictor boosted_trees",
    "choose another one (search.predictor, benchmark --predictor)",
)
XLLAMACPP = Requirement(
    "xllamacpp",
    "xllamacpp",
    "the engine (llama.cpp: packing into its types, running a GGUF file)",
    "set RANKADAPTOR_LLAMA to a folder with llama.cpp's libraries",
)
REQUIREMENTS = (BITSANDBYTES, LM_EVAL, MLFLOW, RAY, XGBOOST, XLLAMACPP)

_hidden: dict[str, Exception] = {}


def load_package(requirement: Requirement) -> Any:
    """Import a package and return its module.

    Raises:
        InputError: If it is absent or does not load; the message names the feature, how to install the
            package, and how to go on without it.
    """
    try:
        package = importlib.import_module(requirement.module)
        for part in requirement.parts:
            importlib.import_module(part)
    except Exception as error:  # an import runs any code, so it may raise anything
        fault = describe_fault(requirement, _hidden.get(requirement.module, error))
        raise InputError(_explain(requirement, fault)) from error
    return package


def check_package(requirement: Requirement) -> None:
    """Look for a package without importing it.

    Raises:
        InputError: As of `load_package`, if it is absent.
    """
    if not is_installed(requirement):
        raise InputError(_explain(requirement, "is not installed"))


def is_installed(requirement: Requirement) -> bool:
    """Tell whether a package is there, without importing it."""
    return requirement.module in _hidden or importlib.util.find_spec(requirement.module) is not None


def hide_if_broken(requirement: Requirement) -> None:
    """Make a package that is installed but does not load look absent to other libraries.

    PEFT imports bitsandbytes wherever it finds it, whatever the model's weights are.
    """
    module = requirement.module
    if module in sys.modules or not is_installed(requirement):
        return
    try:
        importlib.import_module(module)
    except Exception as error:  # an import runs any code, so it may raise anything
        _hidden[module] = error
        sys.modules[module] = None  # type: ignore[assignment]  # as Python's own mark of what cannot be imported
        logger.info("%s %s: not used", requirement.distribution, describe_fault(requirement, error))


def describe_fault(requirement: Requirement, error: Exception) -> str:
    """Say what is wrong with a package whose import raised `error`."""
    if isinstance(error, ModuleNotFoundError) and error.name == requirement.module:
        return "is not installed"
    reason = (str(error).strip().splitlines() or [""])[0]
    return f"is installed but does not load ({type(error).__name__}: {reason})"


def write_remedy(requirement: Requirement, *, broken: bool = False) -> str:
    """Write the command that installs a package, in the versions that this package asks for."""
    again = "--force-reinstall " if broken else ""
    return f'pip install {again}"{requirement.distribution}{_find_versions(requirement.distribution)}"'


def _explain(requirement: Requirement, fault: str) -> str:
    command = write_remedy(requirement, broken="does not load" in fault)
    return (
        f"{requirement.feature} needs the package {requirement.distribution}, which {fault}. "
        f"Run {command}, or {requirement.instead}."
    )


def _find_versions(distribution: str) -> str:
    try:
        wanted = importlib.metadata.requires("rankadaptor") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    for line in wanted:
        match = re.match(r"([\w.-]+)\s*([^;\s]*)", line)
        if match and match[1].replace("_", "-").lower() == distribution:
            return match[2]
    return ""
