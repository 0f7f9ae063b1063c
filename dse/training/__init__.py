"""Training small real networks in low precision: what an accuracy limit rests on, measured (needs ``lowprec-dse[torch]``)."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Never

from dse.errors import InputError


def require_torch(asks: str = "dse measure") -> None:
    """Say which extra is missing.

    Parameters
    ----------
    asks
        Who needs it.

    Raises
    ------
    InputError
        torch is not installed.
    """
    if find_spec("torch") is None:
        raise InputError(asks, ["trains with PyTorch; pip install 'lowprec-dse[torch]'"])


def without_torch(name: str) -> Callable[..., Never]:
    """What stands for a function that needs torch where torch is not installed: it says so when called, not when named."""

    def missing(*_: Any, **__: Any) -> Never:
        require_torch(name)
        raise AssertionError(f"{name} is there")

    missing.__name__ = name.rpartition(".")[2]
    return missing
