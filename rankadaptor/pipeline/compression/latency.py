"""The engine's time per type and part, measured on this machine, for limits on latency."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rankadaptor.engine.session import Engine
from rankadaptor.measure.latency import LatencyModel, fit_latency
from rankadaptor.measure.latency_probes import PHASES, ProbeSettings
from rankadaptor.pipeline.compression.setting import Setting


def measure_latency(setting: Setting) -> dict[str, Any]:
    """Time every type that may be chosen, in the shapes of the model; see `fit_latency`.

    Returns:
        `table` (a row per type and part, nanoseconds per thousand parameters and token), `model` (all of the
        latency model), `errors` (largest relative error of the fit, by phase).
    """
    given = setting.config.choices
    types = list(dict.fromkeys((*given.types, *given.embedding)))
    model = fit_latency(
        setting.model,
        types,
        prompt=setting.config.export.prompt,
        generated=setting.config.export.generated,
    )
    return {"table": list_rates(model), "model": asdict(model), "errors": dict(model.errors)}


def list_rates(model: LatencyModel) -> list[dict[str, Any]]:
    """Return the rows of the latency table that `plan` shows."""
    return [
        {
            "type": kind,
            "part": part,
            **{f"{phase}: ns per 1000 parameters": 1000 * model.rates[phase][part][kind] for phase in PHASES},
        }
        for part in model.rates[PHASES[0]]
        for kind in model.rates[PHASES[0]][part]
    ]


def read_latency(measured: dict[str, Any]) -> LatencyModel:
    """Return the latency model that `measure_latency` described."""
    stored = measured["model"]
    return LatencyModel(
        engine=Engine(**stored["engine"]),
        machine=stored["machine"],
        settings=ProbeSettings(**stored["settings"]),
        rates=stored["rates"],
        constants=stored["constants"],
        errors=stored["errors"],
    )
