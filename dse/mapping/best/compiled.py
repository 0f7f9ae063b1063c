"""How the mapper's functions are compiled: once for all threads, without Python's lock, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from numba import njit

#: A record of :mod:`dse.mapping.best.records`; numba knows its fields.
Record = Any
_Function = TypeVar("_Function", bound=Callable[..., Any])
_compiled: Any = partial(njit, cache=True, nogil=True, error_model="numpy")


def outer(function: _Function) -> _Function:
    """What Python calls."""
    return cast(_Function, _compiled(function))


def inner(function: _Function) -> _Function:
    """What only compiled functions call: it needs no wrapper for Python, which would take time to compile."""
    return cast(_Function, _compiled(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function))
