"""Records on disk, with their settings and spaces."""

from __future__ import annotations

from rankadaptor.corpus.corpus import Corpus
from rankadaptor.corpus.migration import Migration, migrate_corpus
from rankadaptor.corpus.record import Record
from rankadaptor.corpus.record_file import RecordFile
from rankadaptor.corpus.setting import Setting
from rankadaptor.corpus.studies import Study

__all__ = ["Corpus", "Migration", "Record", "RecordFile", "Setting", "Study", "migrate_corpus"]
