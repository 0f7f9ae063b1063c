"""What a record holds, as text: keys of caches and the inputs that a run remembers.

``repr`` will not do: it is made for people, shortens large arrays, and may leave fields out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def content(thing: Any) -> str:
    """Text that is equal for records of equal content: dataclasses by their fields, mappings in any order, arrays by every number.

    >>> content({"b": 1, "a": (2, "x")})
    "{'a':(2,'x',),'b':1,}"
    """
    if is_dataclass(thing) and not isinstance(thing, type):
        told = ",".join(f"{field.name}={content(getattr(thing, field.name))}" for field in fields(thing))
        return f"{type(thing).__name__}({told})"
    if isinstance(thing, Mapping):
        return (
            "{"
            + "".join(f"{key}:{value}," for key, value in sorted((content(k), content(v)) for k, v in thing.items()))
            + "}"
        )
    if isinstance(thing, tuple | list):
        return "(" + "".join(f"{content(item)}," for item in thing) + ")"
    if isinstance(thing, np.ndarray):
        return f"{thing.dtype.str}{thing.shape}{hashlib.sha256(np.ascontiguousarray(thing).tobytes()).hexdigest()}"
    return repr(thing)
