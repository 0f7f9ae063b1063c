"""What constant MACs get wrong: the assumption of ZigZag, Timeloop and AccelForge that only traffic shrinks with the widths.

Those tools charge the same energy and the same throughput per MAC at 8 and at 4 bits, and scale what is stored and moved. Here
the same accelerator is evaluated twice for ResNet-18: as it is, and with an element whose energy and rate at every narrower
pair of widths are those of W8A8. Array, memories, mapping search, area and leakage are the same, so that the difference is the
assumption alone. On an element that gains nothing below 8 bits, such as tpu_like's, the assumption is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import plotly.graph_objects as go

from dse.cost import evaluate
from dse.hardware import hardware_arrays, load_hardware
from dse.hardware.model import Hardware
from dse.hardware.pe import mac_energy_pj, pe_mode
from dse.precision import Plan
from dse.studies.study import Claim, Study, bars
from dse.workload import load_workload
from dse.workload.model import Network

#: Weight and activation bits; errors have 8 bits.
WIDTHS = ((8, 8), (4, 8), (4, 4))
DEVICES = ("bit_fusion", "stripes_like", "flex_trainer", "tpu_like")
#: The widths whose MAC the other tools would be given.
REFERENCE_BITS = 8


def constant_mac(hardware: Hardware, bits: int = REFERENCE_BITS) -> Hardware:
    """The same hardware with an element that spends at every width up to ``bits`` the energy and the time of ``bits`` by ``bits``.

    Raises
    ------
    ValueError
        The element does not multiply these widths.
    """
    mode = pe_mode(hardware.pe, bits, bits)
    if not mode.supported:
        raise ValueError(f"{hardware.name} does not multiply {bits} by {bits} bits")
    arrays = hardware_arrays(hardware)
    # The area of the whole array with its registers, so that wires across it keep their length.
    area = float(arrays.area_parts_mm2[0, 0] / arrays.axis_size[0].prod())
    element = replace(
        hardware.pe,
        family="multi_mode",
        modes=((bits, bits, float(mode.lanes) / float(mode.step_cycles)),),
        max_weight_bits=bits,
        max_activation_bits=bits,
        energy_pj=float(mac_energy_pj(hardware.pe, bits, bits, None, hardware.node_nm)),
        area_um2=area * 1e6,
        formats=(),
    )
    changed = replace(hardware, name=f"{hardware.name}, constant MAC", pe=element)
    leaks = float(arrays.leakage_w[0] - hardware_arrays(changed).leakage_w[0])
    return replace(changed, idle_w=hardware.idle_w + leaks)


def ablation_table(
    network: Network | None = None, devices: Sequence[str] = DEVICES, modes: Sequence[str] = ("inference", "training")
) -> pd.DataFrame:
    """Energy and time with real and with constant MACs.

    Parameters
    ----------
    network
        Default: ResNet-18 on ImageNet.
    devices
        Names of shipped hardware.
    modes
        ``inference``, ``training`` or both.

    Returns
    -------
    DataFrame
        A row per device, mode and widths: ``device, mode, weight_bits, activation_bits, energy_j, latency_s, constant_energy_j,
        constant_latency_s, energy_error, latency_error``; an error is the assumption's, relative to the real element.
    """
    network = load_workload("imagenet_resnet") if network is None else network
    plans = [Plan.from_bits(network, w, a, 8) for w, a in WIDTHS]
    rows = []
    for name in devices:
        hardware = load_hardware(name)
        peer = constant_mac(hardware)
        for mode in modes:
            ours, theirs = (
                evaluate(network, item, plans, mode=mode, search_mappings=False).total for item in (hardware, peer)
            )
            for index, (w, a) in enumerate(WIDTHS):
                real, constant = ours.iloc[index], theirs.iloc[index]
                rows.append(
                    {
                        "device": name,
                        "mode": mode,
                        "weight_bits": w,
                        "activation_bits": a,
                        "energy_j": float(real["energy_j"]),
                        "latency_s": float(real["latency_s"]),
                        "constant_energy_j": float(constant["energy_j"]),
                        "constant_latency_s": float(constant["latency_s"]),
                    }
                )
    table = pd.DataFrame(rows)
    for quantity in ("energy", "latency"):
        unit = {"energy": "j", "latency": "s"}[quantity]
        table[f"{quantity}_error"] = table[f"constant_{quantity}_{unit}"] / table[f"{quantity}_{unit}"] - 1.0
    return table


def study() -> Study:
    """Errors of the constant-MAC assumption on four devices, as rows and as figures."""
    table = ablation_table()
    rows = []
    for item in table.to_dict("records"):
        widths = f"W{item['weight_bits']}A{item['activation_bits']}"
        for quantity in ("energy", "latency"):
            label = {"energy": "energy", "latency": "time"}[quantity]
            rows.append(
                Claim(
                    f"constant MAC, {item['device']}",
                    f"error in {label} of {item['mode']}",
                    "%",
                    100.0 * float(item[f"{quantity}_error"]),
                    assumed="energy and rate of every MAC are those of W8A8; array, memories, leakage the same; errors 8 bits",
                    subject=f"ResNet-18, {widths}",
                )
            )
    return Study(
        "ablation",
        "Constant MACs: what peers assume at low precision",
        "ZigZag (KU Leuven), Timeloop (NVIDIA), AccelForge: MAC energy and throughput do not depend on the operand widths",
        _findings(table),
        tuple(rows),
        figures(table),
        "the assumption, as the tools have it: the same MAC energy and cycles reported for W8A8 and W4A4",
        "devices, memories, mapping: ours on both sides; the first and last layer are narrowed too",
    )


def figures(table: pd.DataFrame) -> tuple[tuple[str, go.Figure], ...]:
    """One chart per mode and quantity: the assumption's error, percent, by device and widths."""
    found = []
    for mode in dict.fromkeys(table["mode"]):
        part = table[table["mode"] == mode]
        for quantity, label in (("energy", "energy"), ("latency", "time")):
            chart = {
                f"W{w}A{a}": {
                    str(item["device"]): 100.0 * float(item[f"{quantity}_error"])
                    for item in part.to_dict("records")
                    if (item["weight_bits"], item["activation_bits"]) == (w, a)
                }
                for w, a in WIDTHS
            }
            figure = bars(chart, f"error in {label}, %")
            found.append((f"{label.capitalize()} of ResNet-18, {mode}: constant MACs against the real element", figure))
    return tuple(found)


def _findings(table: pd.DataFrame) -> tuple[str, ...]:
    text = []
    for mode in dict.fromkeys(table["mode"]):
        at = table[(table["mode"] == mode) & (table["weight_bits"] == 4) & (table["activation_bits"] == 4)]
        parts = [
            f"{item['device']} {100 * item['energy_error']:+.0f} % energy and {100 * item['latency_error']:+.0f} % time"
            for item in at.to_dict("records")
        ]
        text.append(f"At W4A4, {mode}, constant MACs are wrong by: {'; '.join(parts)}.")
    return tuple(text)
