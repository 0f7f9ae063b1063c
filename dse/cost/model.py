"""What the cost model is, in words: its version, and what it leaves out. Reports and the README print these sentences."""

from __future__ import annotations

#: Changes whenever a change of the model can change a number that a user sees.
MODEL_VERSION = "4"

LEFT_OUT = (
    "Layers run one after the other and meet in DRAM: no fusion of layers, no pipelining across layers, no forwarding of an "
    "activation that would fit on the chip.",
    "A layer's result is written in the layer's own activation (or error) format; partial sums have the accumulator's width.",
    "Traffic of a sliding window counts the bounding box of a tile, padding included, as the peers do.",
    "The network on the chip costs nothing beyond the multicast that the counts contain; bank conflicts, DRAM refresh, row "
    "misses and page policy are inside the price per bit.",
    "Latency is the slowest of compute and of each memory's traffic when double-buffered; contention between them is not "
    "simulated.",
    "Sparsity is not exploited, except for the zeros that a stride inserts in the backward passes (zero_skip) and, on hardware "
    "that says so, the products that a causal mask makes zero (causal_skip: one by one, an upper bound for hardware that skips "
    "tiles).",
    "Tokens choose their experts independently and with equal chance, and spread evenly over those that are hit; the worst case is "
    "an option of the network (routing). Blocks of queries that share an attention window read every key once.",
    "A convolution over three axes runs on a nest with two window axes: products and weights are exact, its input is read once per "
    "tap of the folded axis.",
    "One accelerator: no data-parallel communication between several.",
    "Converters (quantizing, rounding, ranges) keep up with the memory port: energy but no cycles and no area; scales are those of "
    "the step before, so that no tensor is read twice. Which operands round stochastically is an option (default: errors).",
    "Blocks of mixed widths are taken together by width, except in bit-serial elements, whose lanes wait for the widest block of "
    "theirs; a map of widths is given unless its online analytics are asked for (map_updates).",
    "The memory footprint counts weights and their copies, gradients, optimizer states, stashed tensors and the largest layer; "
    "sums and shortcuts that outlive their layer count only where they are stashed.",
    "Convergence is that of the measured profile and of the published recipe: the number of steps does not depend on the plan.",
)
