"""``dse profile script.py:make`` and ``dse verify``: a function of the user's own script."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dse.errors import InputError
from dse.yaml_input import suggest


def is_script(reference: str) -> bool:
    """Whether a text is ``script.py:function``.

    >>> is_script("train.py:run"), is_script("model.onnx")
    (True, False)
    """
    return ".py:" in reference


def script_function(reference: str) -> Callable[..., Any]:
    """The function that ``script.py:function`` names; the script is run as an imported module, not as the main program.

    Raises
    ------
    InputError
        No such file, no such function in it, or the script fails; where and why.
    """
    path, _, name = reference.rpartition(":")
    if not Path(path).is_file():
        raise InputError(reference, [f"no such file: {path or reference}; expected script.py:function"])
    try:
        found = runpy.run_path(path, run_name=Path(path).stem)
    except Exception as error:
        raise InputError(path, [f"fails when it is imported: {type(error).__name__}: {_first_line(error)}"]) from None
    if not callable(found.get(name)):
        functions = [key for key, value in found.items() if callable(value) and not key.startswith("_")]
        raise InputError(reference, [f"has no function '{name}'{suggest(name, functions)}"])
    function: Callable[..., Any] = found[name]
    return function


def call(reference: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a user's script returns; where it fails, one line that says why."""
    try:
        return function(*arguments)
    except InputError:
        raise
    except Exception as error:
        raise InputError(reference, [f"fails: {type(error).__name__}: {_first_line(error)}"]) from None


def made_by(reference: str) -> tuple[Any, Any, Any, Any]:
    """(module, inputs, targets, loss) that a script's function returns, as :func:`dse.sensitivity` takes them.

    Raises
    ------
    InputError
        The function returns something else.
    """
    made = call(reference, script_function(reference))
    if not isinstance(made, tuple) or len(made) != 4:
        raise InputError(reference, ["expected a function that returns (module, inputs, targets, loss)"])
    return made


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
