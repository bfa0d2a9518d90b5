"""The command line: thin commands over the Python API; nothing heavy is imported before it is needed."""

from rankadaptor.cli.app import app, main

__all__ = ["app", "main"]
