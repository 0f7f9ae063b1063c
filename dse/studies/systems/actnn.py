"""ActNN: activations kept for the backward passes in 2 bits (Chen et al., ICML 2021, arXiv 2104.14129).

Theirs: convolutions compute in float32, only the stash is compressed to 2 bits with a range per group of 256; activation memory
shrinks 12 times, and 6.6 to 14 times larger batches fit. Ours: the memory footprint and the traffic of the same stash.
"""

from __future__ import annotations

import plotly.graph_objects as go

from dse.cost import evaluate
from dse.cost.tensors.memory import footprint, kept_bits
from dse.hardware import load_hardware
from dse.precision import Plan
from dse.studies.study import Claim, Study, bars
from dse.workload import load_workload
from dse.workload.model import Network

NETWORKS = ("imagenet_resnet", "imagenet_resnet34", "imagenet_resnet50")
#: Memory of the T4 that the paper trains on, bits.
MEMORY_BITS = 16 * 2**30 * 8
#: Published: activation memory (abstract), batch (abstract).
MEMORY_CLAIM, BATCH_CLAIM = 12.0, (6.6, 14.0)


def plans(network: Network) -> tuple[Plan, Plan]:
    """float32 throughout, and the same with a 2-bit stash."""
    wide = Plan.uniform(network, "fp32", "fp32", "fp32")
    return wide, wide.with_operand("stash", "actnn2")


def largest_batch(network: Network, plan: Plan, memory_bits: float = MEMORY_BITS) -> int:
    """Samples per step that fit; 0 if not even one does.

    Weights, gradients and states do not grow with the batch; what is there at each moment is proportional to it.
    """
    parts = footprint(network.with_batch(1), plan)
    growing = parts["stash"] + parts["working"]
    return max(int((memory_bits - (sum(parts.values()) - growing)) // growing), 0)


def study() -> Study:
    """Memory and batch against the claims; energy and time of a step on an FP32 trainer."""
    rows = []
    hardware = load_hardware("fp32_trainer")
    batches: dict[str, dict[str, float]] = {"float32": {}, "2-bit stash": {}}
    saved = 0.0
    for name in NETWORKS:
        network = load_workload(name)
        wide, narrow = plans(network)
        stash = kept_bits(network, wide) / kept_bits(network, narrow)
        rows.append(Claim("ActNN", "activation memory", "x", stash, MEMORY_CLAIM, assumed=STASH, subject=name))
        before, after = largest_batch(network, wide), largest_batch(network, narrow)
        batches["float32"][name], batches["2-bit stash"][name] = float(before), float(after)
        assumed = "16 GB for weights, gradients, momentum and the tensors of the moment that holds most; no workspace"
        rows.append(Claim("ActNN", "batch that fits", "x", after / before, *BATCH_CLAIM, assumed=assumed, subject=name))
        if name == NETWORKS[0]:
            table = evaluate(network, hardware, [wide, narrow], search_mappings=False).total
            for quantity, label in (("energy_j", "energy"), ("latency_s", "time"), ("dram_bits", "DRAM traffic")):
                ratio = float(table[quantity][1]) / float(table[quantity][0])
                assumed = (
                    "compression and decompression on the vector unit, stash written beside the float32 activation"
                )
                rows.append(
                    Claim("ActNN", f"{label} of a step relative to float32", "x", ratio, assumed=assumed, subject=name)
                )
                saved = ratio if quantity == "energy_j" else saved
    return Study(
        "actnn",
        "ActNN: 2-bit activations for the backward passes",
        "J. Chen et al., ActNN: Reducing Training Memory Footprint via 2-Bit Activation Compressed Training, ICML "
        "2021, arXiv 2104.14129",
        (
            f"A 2-bit stash takes {rows[0].ours:.1f} times less memory ({MEMORY_CLAIM:.0f} claimed), and on "
            "fp32_trainer a step of "
            f"ResNet-18 takes {saved:.2f} times the energy of float32: what is computed does not change.",
        ),
        tuple(rows),
        _figures(batches),
        "the stash format, the claims",
        "which tensors are kept (inputs of convolutions and norms; signs of activation functions where nobody keeps the result), "
        "what else is there when",
    )


STASH = "2 bits and a range of two 16-bit numbers per 256; every stashed tensor compressed"


def _figures(batches: dict[str, dict[str, float]]) -> tuple[tuple[str, go.Figure], ...]:
    return (("Largest batch in 16 GB", bars(batches, "samples")),)
