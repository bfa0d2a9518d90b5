"""The pico run that the pipeline's tests use."""

from tests.pipeline.conftest import pico_folder, pico_rows, pico_run

__all__ = ["pico_folder", "pico_rows", "pico_run"]
