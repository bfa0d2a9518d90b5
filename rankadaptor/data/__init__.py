"""Training and held-out data: rows from a name, files or memory, and the token sequences made from them."""

from rankadaptor.data.row import Row, Turn
from rankadaptor.data.rows import Source, digest_rows, load_rows
from rankadaptor.data.sequences import TokenSequence, draw_batches, make_batch, tokenise_rows
from rankadaptor.data.source_check import SourceSummary, check_source, has_chat_template
from rankadaptor.data.text_sets import TextSet, TextSets, build_text_sets

__all__ = [
    "Row", "Source", "SourceSummary", "TextSet", "TextSets", "TokenSequence", "Turn",
    "build_text_sets", "check_source", "digest_rows", "draw_batches",
    "has_chat_template", "load_rows", "make_batch", "tokenise_rows",
]  # fmt: skip
