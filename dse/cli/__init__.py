"""The command line: the only room that prints or exits."""

from dse.cli import commands
from dse.cli.options import app
from dse.cli.program import main

__all__ = ["app", "commands", "main"]
