"""What the cost model is, in words: its version, and what it leaves out. Reports and the README print these sentences."""

from __future__ import annotations

#: Changes whenever a change of the model can change a number that a user sees.
MODEL_VERSION = "5"

LEFT_OUT = (
    "Layers run one after the other and meet in DRAM, unless fusion is asked for: then layers without MACs run as their neighbours "
    "write (norms still write their result, and a layer norm after a product reads it), tensors may wait on the chip (in training "
    "also by slices of the batch), and scores of attention may stay there. No pipelining across layers, no tile chains over pixels "
    "or tokens; fused lanes are not overlapped with the array.",
    "The time of writing a result is that of the layer's own activation (or error) format, its bits and energy those of the format "
    "that its reader wants (what a norm reads and results with a format of their own: in all three); partial sums have the "
    "accumulator's width. A tensor that products read in several formats is written in each.",
    "Traffic of a sliding window counts the bounding box of a tile, padding included, as the peers do.",
    "The network on the chip costs its wires, from a shared memory across what it serves, and no routers; bank conflicts, DRAM "
    "refresh, row misses and page policy are inside the price per bit.",
    "Latency is the slowest of compute and of each memory's traffic when double-buffered; contention between them is not "
    "simulated. Tiles take all of a memory unless its file says 'double_buffered': half of the shared memories for tiles is "
    "x1.00 to x1.18 of the energy and x1.00 to x1.14 of the time of two ResNets on six accelerators.",
    "Sparsity is not exploited, except for the zeros that a stride inserts in the backward passes (zero_skip) and, on hardware "
    "that says so, the products that a causal mask makes zero (causal_skip: one by one, an upper bound for hardware that skips "
    "tiles).",
    "Tokens choose their experts independently and with equal chance, and spread evenly over those that are hit; the worst case is "
    "an option of the network (routing). Blocks of queries that share an attention window read every key once.",
    "A convolution over three axes runs on a nest with two window axes: products and weights are exact, its input is read once per "
    "tap of the folded axis.",
    "One accelerator: no data-parallel communication between several.",
    "Converters at the memory port (`converter` of a hardware file) keep up with it where the file gives no lanes, and take the "
    "area that it gives; without one the vector unit converts, beside the pass where parts overlap. Scales are those of the step "
    "before, so that no tensor is read twice. Which operands round stochastically is an option (default: errors).",
    "Blocks of mixed widths are taken together by width, except in bit-serial elements, whose lanes wait for the widest block of "
    "theirs; a map of widths is given unless its online analytics are asked for (map_updates).",
    "The memory footprint is that of the moment that holds most, layers running forward in their order and back in reverse, "
    "without fragments and workspaces; gradients are held whole. Where a network does not say who reads what (explicit nests "
    "without 'reads'), each layer is taken to read the one before it.",
    "Norms read and keep 16 bits in training, or the activation's format where that is wider, as training frameworks do, unless "
    "the plan gives a stash. Block formats with groups along one axis are kept along both, unless the plan says otherwise "
    "(copies).",
    "Momentum and Adam update every row of an embedding's table, as dense optimizers do, unless the table is sparse; its gradient "
    "is read and written for the rows that a batch hits, as many as there can be.",
    "Weights of a recurrent layer stay over its time steps in the outermost memory on the chip that holds weights where all of "
    "them fit beside the tiles of the other operands, and beside the weights of layers that run in turns with it: they are "
    "brought once.",
    "Gradient accumulation repeats the passes: the sum with the gradient that is there, one more read per pass, is not counted.",
    "Convergence is that of the measured profile and of the published recipe: the number of steps does not depend on the plan.",
)
