"""The pico run of the pipeline's tests, for the studies that are built on it."""

from __future__ import annotations

from tests.pipeline.conftest import *  # noqa: F403
