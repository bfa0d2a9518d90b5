"""The repository's Markdown documents and the code blocks in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("experiments/**/*.md"),
        ROOT / "meta_data/README.md",
        ROOT / "mlruns/README.md",
    ]
)


def name_document(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def find_blocks(path: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language, dedented (a block may stand inside a list)."""
    blocks = []
    for match in re.finditer(
        rf"^( *)```{language}\n(.*?)^\1```$", path.read_text("utf-8"), re.DOTALL | re.MULTILINE
    ):
        margin = len(match[1])
        blocks.append("".join(line[margin:] or "\n" for line in match[2].splitlines(keepends=True)))
    return blocks


def strip_code(text: str) -> str:
    """Leave out fenced blocks and inline code, in which brackets are not links."""
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)
