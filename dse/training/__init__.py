"""Training small real networks in low precision: what an accuracy limit rests on, measured (needs ``lowprec-dse[torch]``)."""

from importlib.util import find_spec

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
