"""The version of the program; a module of its own, so that what records it need not import the package."""

VERSION = "0.2.0"
