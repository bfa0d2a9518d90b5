"""User, source and versions of a run, as MLflow tags."""

from __future__ import annotations

import getpass
import importlib.metadata
import platform

from rankadaptor.runtime import find_commit

SOURCE = "rankadaptor"


def describe_source() -> dict[str, str]:
    """Return a run's tags for its user, source, commit and versions."""
    commit = find_commit()
    tags = {
        "mlflow.user": find_user(),
        "mlflow.source.name": SOURCE,
        "mlflow.source.type": "LOCAL",
        "rankadaptor.commit": commit,
        "rankadaptor.version": importlib.metadata.version("rankadaptor"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    for package in ("torch", "transformers", "peft"):
        tags[package] = importlib.metadata.version(package)
    if commit != "unknown":
        tags["mlflow.source.git.commit"] = commit.rstrip("+")
    return tags


def find_user() -> str:
    """Return the name of whoever runs this, as MLflow itself would log it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user has no name
        return "unknown"
