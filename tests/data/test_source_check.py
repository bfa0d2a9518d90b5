"""Sources are checked without loading anything heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rankadaptor.data import SourceSummary, check_source, has_chat_template
from rankadaptor.errors import InputError

CHAT = {"messages": [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "One."}]}


def test_rows_and_chats_are_counted(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ({"text": "a"}, CHAT, {"txt": "b"})))
    assert check_source(path, first=2) == SourceSummary(str(path), rows=2, chats=1, whole=False)
    with pytest.raises(InputError, match=r"rows.jsonl:3: keys are txt"):
        check_source(path)
    assert check_source([CHAT], first=1) == SourceSummary("a sequence of 1 rows", rows=1, chats=1, whole=True)
    assert check_source("kit:alpaca").rows is None
    for source, message in {
        "kit:alpacca": "Did you mean 'alpaca'",
        str(tmp_path / "none.jsonl"): "no such file",
    }.items():
        with pytest.raises(InputError, match=message):
            check_source(source)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match="no rows with text"):
        check_source(tmp_path / "empty.txt")


@pytest.mark.parametrize("name", ["tokenizer_config.json", "chat_template.jinja", "chat_template.json"])
def test_chats_need_a_template(tmp_path, name):
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert not has_chat_template(tmp_path)
    with pytest.raises(
        InputError, match=r"has chats, but .* has no chat template. Use the tokenizer of an instruct"
    ):
        check_source([CHAT], model_folder=tmp_path)
    (tmp_path / name).write_text('{"chat_template": "{{ messages }}"}')
    assert check_source([CHAT], model_folder=tmp_path).chats == 1


def test_nothing_heavy_is_imported(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(CHAT))
    code = (
        f"import sys; from rankadaptor.data import check_source; assert check_source({str(path)!r}).chats\n"
        "assert not {'torch', 'transformers', 'pandas', 'pyarrow', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
