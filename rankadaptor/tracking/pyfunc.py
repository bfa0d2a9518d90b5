"""The predictor as a registered MLflow model that anyone with MLflow can load and query."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.tracking.address import Store, locate_store
from rankadaptor.tracking.store import connect, find_experiment, open_session

if TYPE_CHECKING:
    from rankadaptor.space import Space

MODEL_NAME = "rankadaptor-predictor"
_SCRIPT = Path(__file__).with_name("predictor_model.py")


def register_predictor(
    folder: Path,
    *,
    target: Store | str | Path | None,
    experiment: str | None = None,
    name: str = MODEL_NAME,
    space: Space | None = None,
    run_id: str | None = None,
) -> str:
    """Register a saved predictor as a new version of a pyfunc model.

    The model is the predictor's own folder of safetensors and JSON beside a script that reads it;
    nothing is pickled. Load it with `mlflow.pyfunc.load_model(uri)`, or with `load_registered_predictor`
    without setting MLflow up first.

    Args:
        folder: What `save_pretrained` wrote.
        target: Folder of the store, or a tracking URI; None takes `MLFLOW_TRACKING_URI`, else `mlruns`.
        experiment: Experiment that the model is shown under; None takes MLflow's variables or `rankadaptor`.
        name: Name in the model registry; each call adds a version.
        space: Space that allocations belong to unless a query brings its own.
        run_id: Run that the model came from; a run of its own if None.

    Returns:
        The model's address, such as `models:/rankadaptor-predictor/3`.

    Raises:
        CheckpointError: If the folder does not exist.
        StorageError: If the store does not work.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder. Give the folder that the predictor's save_pretrained wrote."
        )
    store = locate_store(target)
    client = connect(store)
    experiment_id = find_experiment(client, experiment, store=store)
    with open_session(store), tempfile.TemporaryDirectory() as scratch:
        import mlflow.pyfunc
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ParamSchema, ParamSpec

        artifacts = {"predictor": str(folder)}
        if space is not None:
            stored = Path(scratch) / "space.json"
            stored.write_text(json.dumps(space.to_json()), encoding="utf-8")
            artifacts["space"] = str(stored)
        if run_id is None:
            run_id = client.create_run(experiment_id, run_name=f"register-{name}").info.run_id
            client.set_terminated(run_id)
        logged = client.create_logged_model(experiment_id, name=name, source_run_id=run_id)
        saved = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            str(saved),
            python_model=str(_SCRIPT),
            artifacts=artifacts,
            signature=ModelSignature(params=ParamSchema([ParamSpec("space", "string", "")])),
            pip_requirements=[f"rankadaptor=={importlib.metadata.version('rankadaptor')}"],
            mlflow_model=Model(model_id=logged.model_id, run_id=run_id),
        )
        client.log_model_artifacts(logged.model_id, str(saved))
        client.finalize_logged_model(logged.model_id, "READY")
        _make_registered_model(client, name)
        version = client.create_model_version(
            name, source=logged.artifact_location, run_id=run_id, model_id=logged.model_id
        )
    return f"models:/{name}/{version.version}"


def load_registered_predictor(uri: str, *, target: Store | str | Path | None) -> Any:
    """Load a registered predictor as an MLflow pyfunc model, whose `predict` takes a table of allocations.

    MLflow's global tracking address is neither needed nor changed.

    Args:
        uri: `models:/<name>/<version>`, as `register_predictor` returns it.
        target: Folder of the store, or a tracking URI; None takes `MLFLOW_TRACKING_URI`, else `mlruns`.

    Raises:
        InputError: If the address names no model.
        StorageError: If the store does not work.
    """
    if not re.fullmatch(r"models:/[^/]+/[0-9]+", uri):
        raise InputError(f"{uri!r}: not a model's address. Give one such as models:/{MODEL_NAME}/1.")
    store = locate_store(target)
    client = connect(store)
    with open_session(store):
        import mlflow

        _, name, version = uri.split("/")
        place = client.get_model_version_download_uri(name, version)
        local = mlflow.artifacts.download_artifacts(artifact_uri=place, tracking_uri=store.uri)
        return mlflow.pyfunc.load_model(local)


def _make_registered_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            name, description="Predicts the gain of a rank allocation over uniform."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
