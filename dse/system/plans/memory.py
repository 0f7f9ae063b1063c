"""Bytes that a device of a parallel plan holds at its peak.

For a transformer layer of ``h`` features and ``a`` heads on ``s`` tokens and ``b`` samples the kept activations are Korthikanti's
``s b h (10 + 24/t + 5 a s / (h t))`` bytes, with sequence parallelism ``s b h (34 + 5 a s / h) / t``, and under selective
recomputation ``34 s b h / t`` (arXiv 2205.05198, equations 2 to 6): here they are sums over the rows of whatever network.

The first stage of a pipeline holds the activations of as many micro batches as it has sent off before the first one comes back,
``p`` of 1F1B, ``p + (p-1)/v`` interleaved in ``v`` pieces; the last stage one, and ``((v-1) p + 1) / v``. ZeRO shards optimizer
states (1), gradients (2) and weights (3) over the devices that hold the same ones (Rajbhandari et al., SC 2020).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dse.system.model import Execution
from dse.system.network.rows import Row, Rows
from dse.system.plans.arrays import Plans
from dse.types import Floats

#: Parts of the footprint, bytes per device.
PARTS = ("weights", "gradients", "master", "optimizer", "activations", "working", "buffers")
#: Blocks whose gathered weights are there under ZeRO 3: the one that computes, and the one that is fetched for the next.
GATHERED_BLOCKS = 2
#: Bits of the exponents' sums that fused attention keeps per query and head (Dao et al., arXiv 2205.14135).
ATTENTION_STATISTIC_BITS = 32
#: Bits in which a loss is computed, whatever its input.
LOSS_BITS = 32


def parameter_share(row: Row, plans: Plans) -> tuple[Floats, float, Floats]:
    """Of a row: share of its weights that a device holds, parameters that are whole on all, and how many hold the same ones."""
    layer, dim = row.layer, row.cut.dim
    if dim == "E":
        return 1.0 / plans.expert, 0.0, plans.expert_data_group.size
    whole = 0.0
    if dim == "C" and layer.has_macs and layer.bias:
        whole = float(layer.K * layer.G)
    share = 1.0 / plans.tensor if dim else np.ones_like(plans.tensor)
    return share, whole, plans.data_group.size


def held_parameters(row: Row, plans: Plans) -> Floats:
    """Parameters of one row that a device holds, not sharded."""
    share, whole, _ = parameter_share(row, plans)
    return (parameters(row) - whole) * share + whole


def parameters(row: Row) -> int:
    """Learned values that a layer multiplies with, its own or those of another layer."""
    layer = row.layer
    return layer.K * layer.C * layer.R * layer.S * layer.G if layer.shared else layer.parameters


def footprint(rows: Rows, plans: Plans, execution: Execution, stage: str = "fullest") -> dict[str, Floats]:
    """Bytes of every part of :data:`PARTS` on a device of each plan.

    Parameters
    ----------
    stage
        ``first`` or ``last`` of the pipeline, or ``fullest``, the one of both that holds more: those between hold no more than the
        first without what stands before the blocks.
    """
    if stage != "fullest":
        return _stage(rows, plans, execution, first=stage == "first")
    first = _stage(rows, plans, execution, first=True)
    last = _stage(rows, plans, execution, first=False)
    more = sum(first.values()) >= sum(last.values())
    return {part: np.where(more, first[part], last[part]) for part in PARTS}


def _stage(rows: Rows, plans: Plans, execution: Execution, first: bool) -> dict[str, Floats]:
    """Bytes of the parts on a device of the first or the last stage."""
    one = plans.pipeline == 1
    zero = np.zeros_like(plans.data)
    result = dict.fromkeys(PARTS, zero)
    blocks = plans.blocks(rows.blocks.count)
    p, v = plans.pipeline, plans.interleave
    flying = np.where(v > 1, p + (p - 1) / v, p) if first else np.where(v > 1, ((v - 1) * p + 1) / v, 1.0)
    flying = np.minimum(flying, plans.steps)
    share = {
        "block": blocks / rows.blocks.count,
        "before": (one | first) * 1.0,
        "behind": (one | (not first)) * 1.0,
    }
    for row, times in _stage_rows(rows, plans, first):
        for part, value in parameter_bytes(row, plans, rows.states).items():
            result[part] = result[part] + times * value
    kept = {part: kept_bytes(rows, part, plans, execution) for part in share}
    block = kept["block"] / rows.blocks.count
    full = plans.is_recompute("full")
    inputs = rows.crossing_bits / 8.0 * plans.samples * plans.whole_share
    per_block = np.where(full, inputs, block)
    result["activations"] = (
        flying * (blocks * per_block + share["before"] * kept["before"]) + share["behind"] * kept["behind"]
    )
    result["working"] = _working(rows, plans, share) + np.where(full, block - inputs, 0.0).clip(min=0.0)
    gathered = zero
    for row in rows.of("block"):
        gathered = gathered + row.times / rows.blocks.count * held_parameters(row, plans) * row.widths.weight / 8.0
    result["buffers"] = np.where((plans.zero >= 3) & (plans.data > 1), GATHERED_BLOCKS * gathered, 0.0)
    return result


def parameter_bytes(row: Row, plans: Plans, states: int) -> dict[str, Floats]:
    """Bytes that one layer's parameters take, with shards of ZeRO."""
    layer, widths = row.layer, row.widths
    if not parameters(row):
        return {}
    held = held_parameters(row, plans) / 8.0
    holders = parameter_share(row, plans)[2]
    by_stage = {stage: np.where(plans.zero >= stage, 1.0 / holders, 1.0) for stage in (1, 2, 3)}
    trained = held * (not layer.frozen)
    return {
        "weights": held * (widths.weight + widths.turned) * by_stage[3],
        "gradients": trained * widths.gradient * by_stage[2],
        "master": trained * widths.master * by_stage[1] * ~plans.offload,
        "optimizer": trained * widths.optimizer * states * by_stage[1] * ~plans.offload,
    }


def host_bytes(rows: Rows, plans: Plans) -> Floats:
    """Bytes that the host holds for the device of the fullest stage: masters and optimizer states of plans that offload them."""
    most = np.zeros_like(plans.data)
    here = replace(plans, offload=np.zeros_like(plans.offload))
    for first in (True, False):
        held = np.zeros_like(plans.data)
        for row, times in _stage_rows(rows, plans, first):
            parts = parameter_bytes(row, here, rows.states)
            held = held + times * (parts["master"] + parts["optimizer"]) if parts else held
        most = np.maximum(most, held)
    return np.where(plans.offload, most, 0.0)


def _stage_rows(rows: Rows, plans: Plans, first: bool) -> list[tuple[Row, Floats]]:
    """Rows of the first or the last stage, and how often a device of it has the parameters of each."""
    one = plans.pipeline == 1
    share = {
        "block": plans.blocks(rows.blocks.count) / rows.blocks.count,
        "before": (one | first) * 1.0,
        "behind": (one | (not first)) * 1.0,
    }
    # A table that both ends read is a parameter of its own at either end.
    return [(row, row.times * share[row.part] * (~one if row.layer.shared else 1.0)) for row in rows.rows]


def kept_bytes(rows: Rows, part: str, plans: Plans, execution: Execution) -> Floats:
    """Bytes of activations of one micro batch that all layers of a part keep on a device, nothing but inner ones recomputed."""
    drop = plans.is_recompute("selective") | (execution.attention == "fused")
    bits = np.zeros_like(plans.data)
    for row in rows.of(part):
        for item in row.stash:
            share = 1.0 / plans.tensor if item.cut or item.expert else plans.whole_share
            bits = bits + row.times * item.bits * share * np.where(item.inner & drop, 0.0, 1.0)
        if execution.attention == "fused" and row.core and row.layer.kind == "softmax":
            queries = row.layer.G * row.layer.P
            bits = bits + row.times * queries * ATTENTION_STATISTIC_BITS / plans.tensor
    return bits / 8.0 * plans.samples


def _working(rows: Rows, plans: Plans, share: dict[str, Floats]) -> Floats:
    """Bytes of the largest errors that are there beside what is kept: of a layer's result and of its input."""
    most = np.zeros_like(plans.data)
    for row in rows.rows:
        layer = row.layer
        cut = np.where(row.cut.result_cut or row.cut.dim == "E", 1.0 / plans.tensor, plans.whole_share)
        if layer.kind == "loss":
            held = layer.output_elements * (row.widths.activation + LOSS_BITS)
        elif row.core:
            continue
        else:
            held = (layer.output_elements + layer.input_elements) * row.widths.error
        most = np.maximum(most, held / 8.0 * cut * plans.samples * (share[row.part] > 0))
    return most
