"""What a measured corpus says about the question behind the method: where do layer-wise ranks matter?

The numbers are computed first; `page` makes tables and figures of them.
"""

from __future__ import annotations

from experiments.evidence.summary import Evidence, SettingEvidence, gather_evidence

__all__ = ["Evidence", "SettingEvidence", "gather_evidence"]
