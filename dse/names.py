"""Words that several rooms share, each defined once: loop dims, passes, operands, roles, mapping objectives, sides of a memory.

Tuples are in the order in which arrays and reports list them. What a word means stands in ``docs/design.md`` under Words.
"""

from __future__ import annotations

#: Loop dims: batch, groups, output and input channels of a group, output height and width, filter height and width.
DIMS = ("N", "G", "K", "C", "P", "Q", "R", "S")
#: The three products of a layer in training; inference has the first alone.
PASSES = ("forward", "backward_data", "backward_weight")
#: Tensors that products read.
MAC_OPERANDS = ("weight", "activation", "error")
#: Tensors of a plan, in the order of its table. ``stash``: activations kept for the backward passes; ``result``: what layers with
#: MACs write, activations and errors, where it is not yet the format that their readers multiply.
OPERANDS = (*MAC_OPERANDS, "gradient", "master", "optimizer", "stash", "accumulator", "result")
#: What hardware holds an operand as; which tensor takes which role depends on the pass (:mod:`dse.mapping.nest`).
ROLES = ("weight", "activation", "accumulator")
#: What the mapping of a layer may be chosen by; ``edp`` is energy times delay. Compiled kernels know each by its place.
MAPPING_OBJECTIVES = ("energy", "latency", "edp")
#: Sides of a memory: what it is read for and written from. Fields of counts, columns of traffic, and axes of prices by side.
SIDES = ("reads_to_child", "writes_from_child", "writes_from_parent", "reads_to_parent")
#: The sides that read it; the others write.
READ_SIDES = ("reads_to_child", "reads_to_parent")
#: Parts of a training step on a system of accelerators, seconds; their sum is its latency.
TIME_PARTS = (
    "products", "vector", "conversions", "recomputed", "tensor", "expert", "context", "host", "bubble", "pipeline", "data",
    "optimizer",
)  # fmt: skip
#: Kinds of parallelism whose bits pass the links of a device.
LINK_KINDS = ("tensor", "expert", "context", "pipeline", "data")
