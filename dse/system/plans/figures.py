"""What a step costs by its times: rates, utilization, energy, of any number of parallel plans at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dse.names import LINK_KINDS, TIME_PARTS
from dse.system.model import System
from dse.system.network.rows import Rows
from dse.system.plans.arrays import Plans
from dse.system.plans.search import tokens_of
from dse.system.plans.times import Times
from dse.types import Floats


class StepFigures(NamedTuple):
    """Samples of a step, (plans,), and columns of figures by name, (plans,) each."""

    samples: Floats
    columns: dict[str, Floats]


def figures(rows: Rows, plans: Plans, times: Times, system: System, sample_j: float | None) -> StepFigures:
    """Figures of a step of every plan.

    Parameters
    ----------
    sample_j
        Energy of a sample on a device by a hardware model [J]; None: boards take their power at full load for the whole step.
    """
    tokens, devices, latency = tokens_of(rows), plans.devices, times.step
    samples = plans.data * plans.micro_batch * plans.steps
    links = times.link_bits * devices * link_pj(system, devices) * 1e-12
    boards = devices * system.device.power_w * latency if sample_j is None else samples * sample_j
    energy = boards + links
    with np.errstate(divide="ignore"):
        per_joule = np.where(energy > 0, samples * tokens / energy, np.nan)
    return StepFigures(
        samples,
        {
            "latency_s": latency,
            **{f"{part}_s": getattr(times, part) for part in TIME_PARTS},
            "samples_per_s": samples / latency,
            "tokens_per_s": samples * tokens / latency,
            "tokens_per_s_per_device": samples * tokens / latency / devices,
            "mfu": samples * peak_s(rows, system) / (latency * devices),
            "energy_j": energy,
            "energy_j_per_token": energy / (samples * tokens),
            "tokens_per_j": per_joule,
            "link_bits": times.link_bits,
            **{f"link_{kind}_bits": getattr(times, f"link_{kind}_bits") for kind in LINK_KINDS},
        },
    )


def peak_s(rows: Rows, system: System) -> float:
    """Seconds in which one device at the peaks of the formats would do the products of a sample."""
    peaks = system.device.peak_macs_per_s
    seconds = 0.0
    for row in rows.rows:
        for pass_ in row.layer.passes if row.layer.has_macs else ():
            fitting = [bits for bits in peaks if bits >= getattr(row.widths, pass_)]
            seconds += row.times * row.layer.macs / peaks[min(fitting) if fitting else max(peaks)]
    return seconds


def link_pj(system: System, devices: Floats) -> Floats:
    """Energy of a bit on the outermost level that so many devices need [pJ]."""
    result = np.full(np.shape(devices), system.links[-1].pj_per_bit)
    for link in reversed(system.links):
        result = np.where((link.devices == 0) | (link.devices >= devices), link.pj_per_bit, result)
    return result
