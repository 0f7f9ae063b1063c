"""How energy, area, delay and leakage change between technology nodes, 65 to 5 nm, and with the supply voltage.

**Energy of logic** (adders, registers, wires). 65 to 45 nm: Stillmaker and Baas, below. Below 45 nm a power law of the node through
what chips show: an int8 MAC of TPUv4i takes 0.084 pJ at 7 nm (AccelForge's model of it) where Bit Fusion's synthesized unit with
a sum of 32 bits takes 0.253 at 45. The equations' own factor at 7 nm is six times less: they scale an inverter and its load, no
wires.

**Energy of memories.** The equations down to 22 nm, where CACTI 7 agrees within 3 %; below it a power law through the vector
memory of the same chip (4 MB, 0.249 and 0.293 pJ per bit read and written). Its memory of 128 MB, not used, is met within 15 %.

5 nm is the foundry's claim on top of both: TSMC's figures for N5 against N7 (IEDM 2019, as reported by WikiChip, March 2020):
1.84 times the logic density, 30 % less power at equal speed, 15 % more speed at equal power; it counts as extrapolated.
:mod:`dse.validation.nodes` says how far each anchor lies from the laws, and what leaving it out would change.

Source of area, delay and the equations: A. Stillmaker and B. Baas, "Scaling equations for the accurate prediction of CMOS device
performance from 180 nm to 7 nm", Integration 58 (2017) 74-81: area from its table of general scaling factors, energy and delay
from its polynomials of the supply voltage (high-performance devices; R^2 > 0.95 against the authors' HSpice runs on the PTM and
ITRS models). Nodes between the table's are interpolated linearly in the logarithms.

**Area of memories** follows the cells of one foundry, which shrink less than logic: TSMC's high-density cell of six transistors as
announced node by node (collected by WikiChip; um2: :data:`CELL_UM2`). CACTI 7's own runs at 65, 32 and 22 nm are met within -19,
+3 and +24 % (by the factors of logic -28, -13 and -2 %).
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
#: um2 of a high-density SRAM cell by node, TSMC.
CELL_UM2 = {
    65.0: 0.499,
    45.0: 0.296,
    40.0: 0.242,
    28.0: 0.127,
    20.0: 0.081,
    16.0: 0.070,
    10.0: 0.042,
    7.0: 0.027,
    5.0: 0.021,
}
_N5_POWER, _N5_DELAY, _N5_DENSITY = 0.70, 1 / 1.15, 1.84


def _polynomials(table: Floats) -> Floats:
    powers = np.arange(table.shape[1] - 1, -1, -1)
    return np.asarray((table * _SUPPLY_V[:, None] ** powers).sum(axis=1))


class _Curve(NamedTuple):
    """A factor by node, ascending, in logarithms; straight between the points."""

    log_nodes: Floats
    log_values: Floats


def _curve(nodes_nm: npt.ArrayLike, values: npt.ArrayLike) -> _Curve:
    order = np.argsort(nodes_nm)
    return _Curve(np.log(np.asarray(nodes_nm, np.float64)[order]), np.log(np.asarray(values, np.float64)[order]))


#: pJ of an int8 MAC with a sum of 32 bits: Bit Fusion's unit in an array at 45 nm with 16 more bits of sum, and TPUv4i's at 7 nm.
MAC_45NM_PJ, MAC_7NM_PJ = 0.2034 + 16 * 0.1 / 32, 0.084
#: pJ per bit read and written of a memory of 4 MB with ports of 512 bits: CACTI 7 at 45 nm, and TPUv4i's at 7 nm.
SRAM_45NM_PJ, SRAM_7NM_PJ = (2.153, 2.596), (0.249, 0.293)
#: Energy at 7 nm relative to 45 nm, of logic and of memories.
LOGIC_7NM = MAC_7NM_PJ / MAC_45NM_PJ
SRAM_7NM = float(np.sqrt(np.prod(SRAM_7NM_PJ) / np.prod(SRAM_45NM_PJ)))

_STILLMAKER = _polynomials(_ENERGY) / _polynomials(_ENERGY)[1]
#: 22 nm is no node of the equations: between those beside it.
_AT_22NM = float(np.exp(np.interp(np.log(22.0), np.log([20.0, 32.0]), np.log(_STILLMAKER[[3, 2]]))))
_LOGIC = _curve([65, 45, 7, 5], [_STILLMAKER[0], 1.0, LOGIC_7NM, LOGIC_7NM * _N5_POWER])
_SRAM = _curve([65, 45, 32, 22, 7, 5], [*_STILLMAKER[:3], _AT_22NM, SRAM_7NM, SRAM_7NM * _N5_POWER])
_DELAYS = _curve(_NODES_NM, np.append(d := _polynomials(_DELAY), d[-1] * _N5_DELAY))
_CELLS = _curve(list(CELL_UM2), list(CELL_UM2.values()))
_AREAS = _curve(_NODES_NM, np.append(_AREA, _AREA[-1] / _N5_DENSITY))
_SUPPLIES = _curve(_NODES_NM, np.append(_SUPPLY_V, _SUPPLY_V[-1]))

#: Alpha-power law (Sakurai and Newton, JSSC 25(2) 1990): exponent, and threshold in V; short channels 1.2 to 1.5, 0.25 to 0.4 V.
_ALPHA, THRESHOLD_V = 1.3, 0.35
#: Per volt: drain-induced barrier lowering of 0.1 V/V (0.05 to 0.15) over n kT/q = 1.3 x 31 mV at 360 K (Roy et al., Proc. IEEE
#: 91(2) 2003).
_LEAKAGE_PER_V = 0.1 / (1.3 * 0.031)
#: ps, delay of an inverter with four like it at 45 nm: 0.4 ps per nm of the node (0.36 to 0.5; Ho, Mai and Horowitz, Proc. IEEE
#: 2001).
_FO4_45NM_PS = 0.4 * 45.0
#: Such delays in the shortest cycle of synthesized logic: 15 to 30, full-custom processors 12 (Chinnery and Keutzer, DAC 2000).
_FO4_PER_CYCLE = 20.0
#: V, supplies for which the laws of the voltage are used as they are; outside a price is extrapolated.
SUPPLY_RANGE_V = (0.42, 1.3)


def energy_scale(node_nm: npt.ArrayLike, from_nm: float = 45.0) -> Floats:
    """Energy of an operation of logic at one node relative to another, each at its nominal supply.

    Parameters
    ----------
    node_nm
        Any shape, 5 to 65 nm.

    Raises
    ------
    InputError
        A node outside 5 to 65 nm.

    >>> float(energy_scale(45.0)), round(float(energy_scale(7.0)), 3)
    (1.0, 0.331)
    """
    return _ratio(_LOGIC, node_nm, from_nm)


def sram_energy_scale(node_nm: npt.ArrayLike, from_nm: float = 45.0) -> Floats:
    """Energy of an access to the same memory at one node relative to another; arguments and errors as :func:`energy_scale`.

    >>> round(float(sram_energy_scale(7.0)), 3), round(float(sram_energy_scale(32.0)), 3)
    (0.114, 0.531)
    """
    return _ratio(_SRAM, node_nm, from_nm)


def area_scale(node_nm: npt.ArrayLike, from_nm: float = 45.0) -> Floats:
    """Area of the same circuit at one node relative to another; arguments and errors as :func:`energy_scale`.

    >>> round(float(area_scale(7.0)), 3)
    0.059
    """
    return _ratio(_AREAS, node_nm, from_nm)


def sram_area_scale(node_nm: npt.ArrayLike, from_nm: float = 45.0) -> Floats:
    """Area of the same memory at one node relative to another; arguments and errors as :func:`energy_scale`.

    >>> round(float(sram_area_scale(7.0)), 3)
    0.091
    """
    return _ratio(_CELLS, node_nm, from_nm)


def delay_scale(node_nm: npt.ArrayLike, from_nm: float = 45.0) -> Floats:
    """Gate delay at one node relative to another, each at its nominal supply; arguments and errors as :func:`energy_scale`.

    The fit of 20 nm is slower than that of 32 nm (its transistor model is another one), so the delay is not monotone there.
    """
    return _ratio(_DELAYS, node_nm, from_nm)


def node_extrapolated(node_nm: npt.ArrayLike) -> Bools:
    """True where a node lies below the fitted model's range (7 nm)."""
    return np.asarray(node_nm, dtype=np.float64) < SMALLEST_FITTED_NODE_NM


def nominal_supply_v(node_nm: npt.ArrayLike) -> Floats:
    """Nominal supply of a node, V; 5 to 65 nm.

    >>> float(nominal_supply_v(45.0))
    1.0
    """
    return np.asarray(np.exp(np.interp(np.log(np.asarray(node_nm, np.float64)), *_SUPPLIES)))


def voltage_energy_scale(supply_v: npt.ArrayLike, nominal_v: npt.ArrayLike) -> Floats:
    """Dynamic energy at a supply relative to another one: ``(V / V0)^2``, the charge of a capacitance, at any speed.

    >>> float(voltage_energy_scale(0.5, 1.0))
    0.25
    """
    return np.asarray((np.asarray(supply_v, np.float64) / np.asarray(nominal_v, np.float64)) ** 2)


def voltage_leakage_scale(supply_v: npt.ArrayLike, nominal_v: npt.ArrayLike) -> Floats:
    """Leakage power at a supply relative to another one: ``V / V0 exp((V - V0) / 0.40)``, barrier lowering by the drain.

    >>> round(float(voltage_leakage_scale(0.6, 1.0)), 2)
    0.22
    """
    v, nominal = np.asarray(supply_v, np.float64), np.asarray(nominal_v, np.float64)
    return np.asarray(v / nominal * np.exp((v - nominal) * _LEAKAGE_PER_V))


def highest_clock_hz(node_nm: npt.ArrayLike, supply_v: npt.ArrayLike) -> Floats:
    """Fastest clock of synthesized logic, Hz: 20 delays of a loaded inverter, by the alpha-power law of the supply; 0 below
    threshold.

    >>> round(float(highest_clock_hz(45.0, 1.0)) / 1e9, 1)
    2.8
    """
    v, nominal = np.asarray(supply_v, np.float64), nominal_supply_v(node_nm)
    drive = np.maximum(v - THRESHOLD_V, 0.0) ** _ALPHA / v
    slower = (nominal - THRESHOLD_V) ** _ALPHA / nominal / np.maximum(drive, 1e-9)
    return np.asarray(1e12 / (_FO4_PER_CYCLE * _FO4_45NM_PS * delay_scale(node_nm) * slower))


def _ratio(curve: _Curve, node_nm: npt.ArrayLike, from_nm: float) -> Floats:
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
        np.exp(np.interp(np.log(nodes), *curve) - np.interp(np.log(from_nm), *curve)),
        dtype=np.float64,
    )
