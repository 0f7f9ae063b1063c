"""The command line: the only part that prints or exits."""

from dse.cli.commands import app, main

__all__ = ["app", "main"]
