"""Workers that load one checkpoint hold its weights once between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.bench.sharing import measure_sharing, probe_sharing
from rankadaptor.pipeline.trial_source import TrialSource


def test_a_worker_s_weights_are_mapped_not_copied(pico_source: Callable[..., TrialSource]) -> None:
    [sharing] = probe_sharing(pico_source(), workers=1)
    assert sharing.mapped == sharing.weights > 0
    assert sharing.private == 0


def test_weights_in_plain_memory_count_as_private(pico_model: Any) -> None:
    sharing = measure_sharing(pico_model("llama"))
    assert sharing.private == sharing.weights > 0
    assert sharing.mapped == 0
