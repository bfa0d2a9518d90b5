"""Training and held-out data: rows from a name, a file or a list, and the token sequences made from them."""

from rankadaptor.data.rows import Row, digest_rows, load_rows
from rankadaptor.data.sequences import TokenSequence, draw_batches, make_batch, tokenise_rows

__all__ = ["Row", "TokenSequence", "digest_rows", "draw_batches", "load_rows", "make_batch", "tokenise_rows"]
