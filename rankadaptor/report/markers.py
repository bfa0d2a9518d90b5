"""Generated parts of documents, between marker comments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from rankadaptor.errors import InputError
from rankadaptor.files import write_text


def update_markers(file: str | Path, blocks: Mapping[str, str]) -> list[str]:
    """Replace the text between `<!-- generated:NAME -->` and `<!-- /generated:NAME -->`.

    Markers without a block stay unchanged, and blocks without a marker are ignored: a document chooses its
    parts by its markers. The file is written only if something changed.

    Args:
        file: A Markdown or HTML file.
        blocks: New content per marker name.

    Returns:
        The names whose content changed.

    Raises:
        InputError: If the file is missing or a marker is not closed.
        StorageError: If the file cannot be written.
    """
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file. Markers can only be updated in a file that has them."
        ) from error
    changed = []
    for name, content in blocks.items():
        start, end = f"<!-- generated:{name} -->", f"<!-- /generated:{name} -->"
        if start not in text:
            continue
        pattern = re.compile(re.escape(start) + r"(?:(?!<!-- generated:).)*?" + re.escape(end), re.DOTALL)
        if len(pattern.findall(text)) != text.count(start):
            line = text[: text.index(start)].count("\n") + 1
            raise InputError(f"{path}:{line}: the marker {start} is not closed. Add {end} below its content.")
        body = f"{start}\n{content.strip()}\n{end}"
        replaced = pattern.sub(lambda _, body=body: body, text)  # type: ignore[misc]
        if replaced != text:
            changed.append(name)
            text = replaced
    if changed:
        write_text(path, text)
    return changed
