"""The script that MLflow stores with a registered predictor and runs when the model is loaded.

MLflow would otherwise pickle a Python object; a script and a folder of safetensors and JSON need no pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel

from rankadaptor.components.adapter import read_space
from rankadaptor.errors import InputError
from rankadaptor.predictor import MetaPredictor

VALUES = "values"


class PredictorModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
    """A predictor behind MLflow's interface: a table of allocations in, `mean` and `std` out."""

    def load_context(self, context: Any) -> None:
        """Read the predictor, and the space it was registered with if there is one."""
        self.predictor = MetaPredictor.from_pretrained(context.artifacts["predictor"])
        stored = context.artifacts.get("space")
        self.space = None if stored is None else read_space(json.loads(Path(stored).read_text("utf-8")))

    # The hint is for MLflow, which would take another for a schema; a mapping of columns is welcome too.
    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict the gain over uniform of each row's allocation.

        Args:
            context: MLflow's, unused.
            model_input: A table with a column `values` of lists (or their JSON text), or one column per slot,
                named as the space names its slots.
            params: `space` is a space as JSON text; without it the one registered with the model is used.

        Returns:
            A table with the columns `mean` and `std`, nats per token, one row per allocation.
        """
        del context
        given = (params or {}).get("space")
        space = read_space(json.loads(given)) if given else self.space
        if space is None:
            raise InputError(
                "this predictor was registered without a space: pass params={'space': <its JSON text>}."
            )
        values = _read_values(pd.DataFrame(model_input), [slot.name for slot in space.slots])
        choices = np.asarray([space.find_choices(row) for row in values], dtype=np.int64)
        prediction = self.predictor.predict(space, choices.reshape(len(values), space.n_slots))
        return pd.DataFrame({"mean": prediction.mean, "std": prediction.std})


def _read_values(table: pd.DataFrame, slots: list[str]) -> list[list[Any]]:
    if VALUES in table.columns:
        rows = [json.loads(row) if isinstance(row, str) else list(row) for row in table[VALUES]]
        if any(len(row) != len(slots) for row in rows):
            raise InputError(
                f"column 'values': each row must hold {len(slots)} labels, one per slot of the space."
            )
        return rows
    if missing := [name for name in slots if name not in table.columns]:
        raise InputError(
            f"no column 'values', and none for slot(s) {', '.join(missing[:5])}. Give the column 'values' "
            f"with a list per row, or one column per slot: {', '.join(slots[:5])}, …"
        )
    return [list(row) for row in table[slots].astype(object).itertuples(index=False)]


mlflow.models.set_model(PredictorModel())
