"""Citations in docstrings resolve, and links between documents lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rankadaptor
from tests.documents import DOCUMENTS, ROOT, name_document, strip_code

PACKAGE = Path(rankadaptor.__file__).parent
STUDIES = ROOT / "experiments"
REFERENCES = ROOT / "docs/references.md"
CITATION = re.compile(r"\[([A-Za-z][\w-]*)\]_")
LINK = re.compile(r"\]\(([^()\s]+)\)")


def list_keys() -> set[str]:
    return set(re.findall(r'^\| <a id="([\w-]+)"></a>\1 \|', REFERENCES.read_text("utf-8"), re.MULTILINE))


def list_anchors(path: Path) -> set[str]:
    """Return explicit anchors and those that GitHub makes of headings."""
    text = path.read_text("utf-8")
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.M), re.M)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def test_every_citation_resolves() -> None:
    keys, missing = list_keys(), []
    for path in sorted([*PACKAGE.rglob("*.py"), *STUDIES.rglob("*.py")]):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            missing += [
                f"{path.relative_to(ROOT)}:{number}: [{key}]_"
                for key in CITATION.findall(line)
                if key not in keys
            ]
    assert not missing, "not in docs/references.md: " + ", ".join(missing)
    assert "RankAdaptor" in keys


def test_references_name_files_that_exist() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", REFERENCES.read_text("utf-8")))
    assert len(named) > 10
    assert not sorted(name for name in named if not ((PACKAGE / name).is_file() or (ROOT / name).is_file()))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_document)
def test_relative_links_lead_somewhere(path: Path) -> None:
    faults = []
    for target in LINK.findall(strip_code(path.read_text("utf-8"))):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        if not place.exists() or (anchor and anchor not in list_anchors(place)):
            faults.append(target)
    assert not faults


def test_the_index_of_decisions_is_complete() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text("utf-8")
    for page in sorted(folder.glob("0*.md")):
        number, title = re.match(r"# (\d{4}) · (.+)\n", page.read_text("utf-8")).groups()  # type: ignore[union-attr]
        assert page.name.startswith(number)
        assert f"| [{number}]({page.name}) | {title} |" in index
