"""Runs, trials and files in MLflow; importing this loads no MLflow."""

from __future__ import annotations

from rankadaptor.tracking.address import DEFAULT_ROOT, Store, explain_choice, locate_store, tell_viewing
from rankadaptor.tracking.mlflow_tracker import MlflowTracker
from rankadaptor.tracking.opening import open_tracker
from rankadaptor.tracking.pyfunc import load_registered_predictor, register_predictor
from rankadaptor.tracking.store import knock
from rankadaptor.tracking.tracker import Tracker

__all__ = [
    "DEFAULT_ROOT",
    "MlflowTracker",
    "Store",
    "Tracker",
    "explain_choice",
    "knock",
    "load_registered_predictor",
    "locate_store",
    "open_tracker",
    "register_predictor",
    "tell_viewing",
]
