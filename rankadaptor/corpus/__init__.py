"""Measured records, their settings and spaces, on disk."""

from __future__ import annotations

from rankadaptor.corpus.record import Record

__all__ = ["Record"]
