"""Stand-ins for a fine-tune: an elastic super-adapter, scores that train nothing, and how good they are."""

from __future__ import annotations

from rankadaptor.proxies.elastic import ElasticAdapter
from rankadaptor.proxies.fidelity import Agreement, judge_fidelity
from rankadaptor.proxies.reconstruction import measure_reconstruction
from rankadaptor.proxies.spectra import measure_spectra
from rankadaptor.proxies.variance import measure_variance

__all__ = [
    "Agreement",
    "ElasticAdapter",
    "judge_fidelity",
    "measure_reconstruction",
    "measure_spectra",
    "measure_variance",
]
