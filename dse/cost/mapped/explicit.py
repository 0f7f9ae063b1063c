"""Costs of explicit mappings: counts times prices.

:func:`evaluate_mappings` prices mappings of a network's layers as :func:`dse.evaluate` prices the best ones; :func:`best_mappings`
writes those out. :func:`energy_of_counts` takes plain price tables, so that any tool's own can be used.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dse.cost.jobs.formats import Jobs
from dse.cost.jobs.network import LayerRun, NetworkJobs, check_mode, layer_runs, network_jobs
from dse.cost.jobs.operands import roles_of
from dse.cost.mapped.best_jobs import GATHER, best_jobs, mapping_of
from dse.cost.mapped.mapping_checks import on_hardware
from dse.cost.mapped.mapping_costs import cost_of_mapping, counts_array
from dse.cost.mapped.searched import searching
from dse.errors import InputError, NothingFeasible, Problem
from dse.hardware.arrays import hardware_arrays
from dse.hardware.model import Hardware
from dse.mapping.explicit.counts import ENGINE, Conventions, Counts
from dse.mapping.explicit.mapping import Mapping
from dse.mapping.explicit.text import load_mapping, write_mappings
from dse.names import MAPPING_OBJECTIVES, ROLES
from dse.precision.plans.labels import plan_label
from dse.precision.plans.plan import Plan
from dse.types import Floats
from dse.workload.model import Network
from dse.yaml_input import suggest


def price_array(
    levels: Sequence[str], read_pj: Table[str, float], write_pj: Table[str, float], bits: Sequence[float] | None = None
) -> Floats:
    """Prices by (level, role 3, side 4) from a price per read and write of each level.

    Parameters
    ----------
    read_pj, write_pj
        Per element, or per bit if `bits` gives the bits per element of each role. Missing levels are free.
    """
    width = np.asarray(bits if bits is not None else (1.0, 1.0, 1.0), dtype=float)
    reads = np.array([read_pj.get(level, 0.0) for level in levels])
    writes = np.array([write_pj.get(level, 0.0) for level in levels])
    by_side = np.stack([reads, writes, writes, reads], axis=1)
    return np.asarray(width[None, :, None] * by_side[:, None, :])


def energy_of_counts(counts: Counts, prices_pj: Floats, mac_pj: float) -> Floats:
    """(m,) picojoules of mappings: all accesses times `prices_pj` (level, role, side), plus all MACs."""
    return np.asarray((counts_array(counts) * prices_pj[None]).sum(axis=(1, 2, 3)) + counts.macs * mac_pj)


@dataclass(frozen=True)
class MappingCosts:
    """Result of :func:`evaluate_mappings`.

    Attributes
    ----------
    layers
        One row per nest: ``layer, pass, nest`` (its number among those of the pass; mixtures and attention windows have several),
        ``order`` ("gather" where backward_data runs in its other order),
        ``times`` (how often it runs), and of one run of it ``macs, pes, compute_cycles, <memory>_cycles ..., cycles, bound,
        fill_cycles, drain_cycles, total_cycles, latency_s, mac_pj, <memory>_pj ..., leakage_pj, energy_pj, mapping``. ``cycles``
        is what :func:`dse.evaluate` calls the time of a pass; ``total_cycles`` adds filling and draining the memories, which that
        leaves out. ``latency_s`` is of ``cycles``.
    counts
        One row per (layer, pass, nest, memory, role): the operand, elements of the largest tile and the bits that it takes in one
        instance, instances in use, elements by side (:data:`SIDES`), bits moved, and their energy.
    """

    layers: pd.DataFrame
    counts: pd.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """Both tables as plain records for JSON."""
        return {
            name: [{str(k): v for k, v in row.items()} for row in getattr(self, name).astype(object).to_dict("records")]
            for name in ("layers", "counts")
        }


def mapping_names(network: Network, work: NetworkJobs) -> dict[str, LayerRun]:
    """What a mapping file may name: ``LAYER.PASS`` for each pass that runs (``LAYER.PASS.2`` for the second nest of a pass that has
    several), ``LAYER.backward_data.gather`` for its other order (:mod:`dse.cost.mapped.best_jobs`), and ``LAYER`` for its forward
    pass."""
    runs = layer_runs(network, work)
    first = {run.layer.name: run for run in runs if run.pass_ == "forward" and run.place == 0}
    others = [run._replace(order=GATHER) for run in runs if work.jobs.gathered[run.job] >= 0]
    return {run.name: run for run in (*runs, *others)} | first


def evaluate_mapping_file(
    network: Network, hardware: Hardware, plan: Plan, path: str | Path, mode: str = "training"
) -> MappingCosts:
    """:func:`evaluate_mappings` of a file (:mod:`dse.mapping.explicit.text`)."""
    check_mode(hardware, mode)
    names = mapping_names(network, network_jobs(network, hardware, [plan], mode))
    return evaluate_mappings(network, hardware, plan, load_mapping(path, names), mode)


def save_best_mappings(
    network: Network,
    hardware: Hardware,
    plan: Plan,
    path: str | Path,
    mode: str = "training",
    objective: str = "edp",
    search_mappings: bool | None = None,
) -> None:
    """Write :func:`best_mappings` in the form that :func:`evaluate_mapping_file` reads."""
    write_mappings(
        path,
        best_mappings(network, hardware, plan, mode, objective, search_mappings),
        f"{network.name} on {hardware.name}, {plan_label(plan, mode)}, {mode}",
    )


def evaluate_mappings(
    network: Network,
    hardware: Hardware,
    plan: Plan,
    mappings: Table[str, Mapping],
    mode: str = "training",
    conventions: Conventions = ENGINE,
) -> MappingCosts:
    """Cost of given mappings of a network's layers, counted loop by loop and priced as :func:`dse.evaluate` does.

    What precision itself costs (conversions and side data) belongs to layers, not to mappings, and is left out.

    Parameters
    ----------
    mappings
        By the names of :func:`mapping_names`; levels are the hardware's memories, its last one outermost.
    conventions
        How accesses are counted; the default is that of the search for the best mapping.

    Raises
    ------
    InputError
        Every layer that does not exist, and every mapping that is none of its layer, does not suit the hardware (memories, axes and
        the dims that an axis takes, capacities with the shortfall in bits), or meets widths that the elements do not multiply.
    """
    check_mode(hardware, mode)
    arrays = hardware_arrays(hardware, None)
    source = next((mapping.source for mapping in mappings.values()), "mappings")
    if plan.layers != tuple(layer.name for layer in network.layers):
        raise InputError("plan", [f"is of network {plan.network}; {network.name} has other layers"])
    work = network_jobs(network, hardware, [plan], mode)
    known = mapping_names(network, work)
    problems: list[Problem] = []
    found: dict[LayerRun, Mapping] = {}
    for name, mapping in mappings.items():
        if name not in known:
            problems.append(Problem(name, f"no layer has this name{suggest(name, known)}"))
            continue
        run = known[name]
        if any(run._replace(order=order) in found for order in ("", GATHER)):
            problems.append(Problem(name, f"the {run.pass_} pass of this layer has two mappings; keep one"))
            continue
        jobs = _in_order(work.jobs, run)
        found[run], wrong = on_hardware(mapping, jobs.nests[int(jobs.nest[run.job])], hardware, arrays, jobs, run.job)
        problems += [Problem(f"{name}.{p.where}" if p.where else name, p.message) for p in wrong]
    if problems:
        raise InputError(source, problems)
    rows, counts = [], []
    both = [run._replace(order=order) for run in layer_runs(network, work) for order in ("", GATHER)]
    for run in (run for run in both if run in found):
        row, traffic = cost_of_mapping(found[run], run.job, hardware, arrays, _in_order(work.jobs, run), conventions)
        operands = roles_of(run.layer, run.pass_)
        of: dict[str, Any] = {"layer": run.layer.name, "pass": run.pass_, "nest": run.place + 1, "order": run.order}
        rows.append({**of, "times": run.times, **row})
        counts += [{**of, **entry, "operand": operands[ROLES.index(entry["role"])]} for entry in traffic]
    return MappingCosts(pd.DataFrame(rows), pd.DataFrame(counts))


def _in_order(jobs: Jobs, run: LayerRun) -> Jobs:
    """Jobs of which those with two orders have that of a run."""
    return replace(jobs, nest=np.where(jobs.gathered >= 0, jobs.gathered, jobs.nest)) if run.order else jobs


def best_mappings(
    network: Network,
    hardware: Hardware,
    plan: Plan,
    mode: str = "training",
    objective: str = "edp",
    search_mappings: bool | None = None,
) -> dict[str, Mapping]:
    """The mapping that :func:`dse.evaluate` chooses for each pass of each layer with MACs, by the names of :func:`mapping_names`.

    Raises
    ------
    NothingFeasible
        The network does not run on the hardware, with the limit that fails.
    """
    check_mode(hardware, mode)
    if objective not in MAPPING_OBJECTIVES:
        raise InputError("objective", [f"'{objective}' is unknown{suggest(objective, MAPPING_OBJECTIVES)}"])
    arrays = hardware_arrays(hardware, None)
    work = network_jobs(network, hardware, [plan], mode)
    searched = searching() if search_mappings is None else search_mappings
    costs = best_jobs(hardware, arrays, work.jobs, objective, searched)
    failed = costs.failed()[0]
    if failed:
        raise NothingFeasible(
            f"{network.name} on {hardware.name}, {plan_label(plan, mode)}, {mode}", [f"infeasible: {failed}"]
        )
    turned = costs.nest[0] != work.jobs.nest
    runs = [run._replace(order=GATHER if turned[run.job] else "") for run in layer_runs(network, work)]
    return {run.name: mapping_of(hardware, arrays, work.jobs, costs, run.job) for run in runs}
