"""Substitutes for fine-tunes: an elastic adapter, scores without training, their rank correlation."""

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
