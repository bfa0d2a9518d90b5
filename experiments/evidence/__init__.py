"""What a measured corpus says about the question behind the method: where do layer-wise ranks matter?

Pure numbers: tables and figures are made from them in `report` and `plots`.
"""

from __future__ import annotations

from experiments.evidence.summary import Evidence, SettingEvidence, gather_evidence

__all__ = ["Evidence", "SettingEvidence", "gather_evidence"]
