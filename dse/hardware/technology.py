"""How energy, area, delay and leakage change between technology nodes, 65 to 5 nm.

Source of 65 to 7 nm: A. Stillmaker and B. Baas, "Scaling equations for the accurate prediction of CMOS device performance
from 180 nm to 7 nm", Integration 58 (2017) 74-81: area from its table of general scaling factors, energy and delay from its
polynomials of the supply voltage (high-performance devices; R^2 > 0.95 against the authors' HSpice runs on the PTM and ITRS
models). 5 nm: TSMC's figures for N5 against N7 (IEDM 2019, as reported by WikiChip, March 2020): 1.84 times the logic
density, 30 % less power at equal speed, 15 % more speed at equal power; a foundry's claim, so it counts as extrapolated.

Nodes between the table's are interpolated linearly in the logarithms. Memory cells shrink less than logic below 16 nm; the
general factors are used for both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dse.errors import InputError, Problem
from dse.types import Bools, Floats

#: nm, range of validity of the scaling functions.
SMALLEST_NODE_NM, LARGEST_NODE_NM = 5.0, 65.0
#: nm, below it the scaling is a foundry's claim and not the fitted model.
SMALLEST_FITTED_NODE_NM = 7.0

_NODES_NM = np.array([65, 45, 32, 20, 16, 14, 10, 7, 5], dtype=np.float64)
#: Supply, V, our choice since the equations leave it open: the values usually quoted as nominal for the PTM models that the
#: equations were fitted to (bulk at 65, 45, 32 nm; multi-gate from 20 nm), not checked against the model cards.
_SUPPLY_V = np.array([1.1, 1.0, 0.9, 0.9, 0.85, 0.8, 0.75, 0.7])
#: Quadratic of the supply voltage, energy factor: table 5 of Stillmaker and Baas.
_ENERGY = np.array(
    [
        [3.755, -4.398, 1.975],
        [1.018, -0.3107, 0.1539],
        [0.8367, -0.4341, 0.1701],
        [0.373, -0.1582, 0.04104],
        [0.2958, -0.1241, 0.03024],
        [0.2363, -0.09675, 0.02239],
        [0.2068, -0.09311, 0.02375],
        [0.1776, -0.09097, 0.02447],
    ]
)
#: Cubic of the supply voltage, delay factor (ps), same table.
_DELAY = np.array(
    [
        [-53.3, 230.4, -333.9, 178.6],
        [-501.6, 1567.0, -1619.0, 566.1],
        [-1047.0, 2982.0, -2797.0, 873.5],
        [0.0, 34.63, -66.37, 41.15],
        [0.0, 24.8, -47.52, 28.87],
        [-40.66, 109.2, -100.6, 35.92],
        [-34.95, 93.65, -85.99, 30.4],
        [-28.58, 76.6, -70.26, 24.69],
    ]
)
#: Area relative to 45 nm, table of general scaling factors.
_AREA = np.array([1.5, 1.0, 0.46, 0.21, 0.19, 0.17, 0.1, 0.059])
_N5_POWER, _N5_DELAY, _N5_DENSITY = 0.70, 1 / 1.15, 1.84


def _polynomials(table: Floats) -> Floats:
    powers = np.arange(table.shape[1] - 1, -1, -1)
    return np.asarray((table * _SUPPLY_V[:, None] ** powers).sum(axis=1))


_LOG_NODES = np.log(_NODES_NM[::-1])
_LOG_ENERGY = np.log(np.append(e := _polynomials(_ENERGY), e[-1] * _N5_POWER))[::-1]
_LOG_DELAY = np.log(np.append(d := _polynomials(_DELAY), d[-1] * _N5_DELAY))[::-1]
_LOG_AREA = np.log(np.append(_AREA, _AREA[-1] / _N5_DENSITY))[::-1]


def energy_scale(node_nm: npt.ArrayLike, from_nm: float = 45.0) -> Floats:
    """Energy of an operation at one node relative to another, each at its nominal supply.

    Parameters
    ----------
    node_nm
        Any shape, 5 to 65 nm.

    Raises
    ------
    InputError
        A node outside 5 to 65 nm.

    >>> float(energy_scale(45.0)), round(float(energy_scale(7.0)), 4)
    (1.0, 0.0555)
    """
    return _ratio(_LOG_ENERGY, node_nm, from_nm)


def area_scale(node_nm: npt.ArrayLike, from_nm: float = 45.0) -> Floats:
    """Area of the same circuit at one node relative to another; arguments and errors as :func:`energy_scale`.

    >>> round(float(area_scale(7.0)), 3)
    0.059
    """
    return _ratio(_LOG_AREA, node_nm, from_nm)


def delay_scale(node_nm: npt.ArrayLike, from_nm: float = 45.0) -> Floats:
    """Gate delay at one node relative to another, each at its nominal supply; arguments and errors as :func:`energy_scale`.

    The fit of 20 nm is slower than that of 32 nm (its transistor model is another one), so the delay is not monotone there.
    """
    return _ratio(_LOG_DELAY, node_nm, from_nm)


def node_extrapolated(node_nm: npt.ArrayLike) -> Bools:
    """True where a node lies below the fitted model's range (7 nm)."""
    return np.asarray(node_nm, dtype=np.float64) < SMALLEST_FITTED_NODE_NM


def _ratio(logs: Floats, node_nm: npt.ArrayLike, from_nm: float) -> Floats:
    nodes = np.asarray(node_nm, dtype=np.float64)
    for name, value in (("node_nm", nodes), ("from_nm", np.asarray(from_nm))):
        wrong = ~((value >= SMALLEST_NODE_NM) & (value <= LARGEST_NODE_NM))
        if wrong.any():
            found: Any = value[wrong].flat[0]
            message = (
                f"technology scaling is known from 5 to 65 nm, got {found:g}; give prices for this node in the file"
            )
            raise InputError("technology", [Problem(name, message)])
    return np.asarray(
        np.exp(np.interp(np.log(nodes), _LOG_NODES, logs) - np.interp(np.log(from_nm), _LOG_NODES, logs)),
        dtype=np.float64,
    )
