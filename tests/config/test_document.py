"""YAML that is no run file is refused at once, in one message."""

from __future__ import annotations

import time

import pytest

from rankadaptor.cli import main
from rankadaptor.config.document import LONGEST, dump_value, parse_document, parse_value
from rankadaptor.errors import ConfigError

MULTIPLYING = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_aliases_that_multiply_are_refused_at_once(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(MULTIPLYING)
    started = time.monotonic()
    assert main(["plan", str(path)]) == 2
    assert time.monotonic() - started < 2
    assert "aliases" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="aliases"):
        parse_value("[&a [1], " + ", ".join(["*a"] * 20_000) + "]", source="--set x")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: &a [*a]", "holds itself"),
        ("[" * 5000, "nested too deeply"),
        ("x: " + "{a: " * 3000, "nested too deeply"),
        ("? [a]\n: b", "this key is no name"),
        ("2001-01-01: 3", "this key is no name"),
        ("!!set {a, b}", "must be keys with values"),
        ("a: !!python/object:os.system x", "not valid YAML"),
    ],
)
def test_other_structures_are_refused(text, part):
    with pytest.raises(ConfigError, match=part):
        parse_document(text, source="run.yaml")


def test_an_alias_or_two_and_a_byte_order_mark_are_welcome(tmp_path):
    text = "recipe: &r {batch_size: 4}\nother: *r\nmore: {<<: *r}\n"
    assert parse_document(text, source="run.yaml").values["more"] == {"batch_size": 4}
    path = tmp_path / "run.yaml"
    path.write_text("\ufeffseed: 3\n", encoding="utf-8")
    assert main(["plan", str(path)]) == 0


def test_a_file_of_another_kind_is_not_read_whole(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a" * (LONGEST + 1))
    assert main(["plan", str(path)]) == 2
    assert "not a run file" in capsys.readouterr().err


def test_numbers_are_read_as_people_write_them():
    text = "a: 010\nb: 1:30\nc: 0x1f\nd: 1_000\ne: -3\nf: 1e-3\ng: .5\nh: 0o10\ni: 08\nj: 1:30.5\nk: -.5e1\n"
    expected = {"a": 10, "b": "1:30", "c": 31, "d": 1000, "e": -3, "f": 0.001, "g": 0.5, "h": 8, "i": 8}
    expected |= {"j": "1:30.5", "k": -5.0}
    assert parse_document(text, source="run.yaml").values == expected
    texts = {"a": "010", "b": "1:30", "c": "0o10", "d": "08", "e": "1e-3", "f": "0x1f", "g": "1_000"}
    assert parse_document(dump_value(texts), source="run.yaml").values == texts
    with pytest.raises(ConfigError, match=r"line 2, column 4: .*a number of 6000 digits is too long"):
        parse_document(f"a: 1\nb: {'9' * 6000}\n", source="run.yaml")
    with pytest.raises(ConfigError, match="a number of 5000 digits is too long"):
        parse_value("9" * 5000, source="--set seed")
