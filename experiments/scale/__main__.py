"""Fill the tables of docs/scale.md from the cost model and the measurements that check it.

python experiments/scale/document.py
"""

from __future__ import annotations

from pathlib import Path

from rankadaptor.files import read_json
from experiments.scale.tables import render_scale
from rankadaptor.report.markers import update_markers

if __name__ == "__main__":
    update_markers(Path("docs/scale.md"), render_scale(read_json(Path("experiments/results/scale.json"))))
