"""Analyse a corpus: in which settings do layer-wise ranks matter?

The other modules compute; `page` renders tables and figures.
"""

from __future__ import annotations

from experiments.evidence.summary import Evidence, SettingEvidence, gather_evidence

__all__ = ["Evidence", "SettingEvidence", "gather_evidence"]
