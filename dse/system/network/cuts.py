"""How tensor and expert parallelism cut a network, read from its loop nests and from who reads whose result.

A cut is a dim of a nest (docs/design.md, Words). A layer with MACs is cut along

* ``K``, its outputs: it needs its whole input, and its result is cut by channels,
* ``C``, what it sums over: its input is cut by channels, its result is a sum over the devices (an all-reduce),
* ``G``, its groups (heads of attention, groups of a convolution): input and result are cut alike,
* ``E``, its experts: tokens travel to the devices that hold them and back (two all-to-all),
* ``""``, not at all: every device of the group computes all of it.

An embedding is cut along its rows (``C``), unless each row is read once. Which one follows from the input: cut by channels, a
layer sums (``C``); whole, it makes channels (``K``) if whoever reads its result can take it so: a layer that sums, heads, a loss,
through layers that treat every channel alone. For a transformer this is Megatron's plan (Shoeybi et al., arXiv 1909.08053).
A whole result that cut layers read gets its error summed over them on the way back: the second all-reduce.
"""

from __future__ import annotations

from dataclasses import dataclass

from dse.workload.model import Layer, Network

#: Layers that treat every channel alone. A softmax does so where its sums run along another axis (keys of a head).
_PER_CHANNEL = ("norm", "activation", "pool", "resize", "add", "multiply")


@dataclass(frozen=True)
class Cut:
    """How one layer is cut.

    Attributes
    ----------
    dim
        ``K``, ``C``, ``G``, ``E`` or "" for layers with MACs and embeddings; ``G`` for others whose channels are cut.
    result_cut
        Whether its result is cut by channels.
    summed
        Its result is a sum over the group: an all-reduce forward.
    shared
        Its result is whole, and cut layers read it: an all-reduce of its error backward.
    enters, leaves
        Tokens travel to their experts before it, or back behind it.
    """

    dim: str = ""
    result_cut: bool = False
    summed: bool = False
    shared: bool = False
    enters: bool = False
    leaves: bool = False


def cuts_of(network: Network) -> list[Cut]:
    """The cut of every layer, in network order."""
    place = {layer.name: index for index, layer in enumerate(network.layers)}
    makers = [_makers(network.layers, index, place) for index in range(len(network.layers))]
    readers: list[list[int]] = [[] for _ in network.layers]
    for index, found in enumerate(makers):
        for maker in found:
            readers[maker].append(index)
    dims: list[str] = []
    cut: list[bool] = []
    for index in range(len(network.layers)):
        before = [maker for maker in makers[index] if maker < index]
        dim = _dim(network, index, [cut[maker] for maker in before], [dims[maker] for maker in before], readers)
        dims.append(dim)
        cut.append(dim in ("K", "G"))
    entered: set[int] = set()
    cuts = []
    for index, dim in enumerate(dims):
        fresh = {maker for maker in makers[index] if dims[maker] != "E"} - entered if dim == "E" else set()
        entered |= fresh
        cuts.append(
            Cut(
                dim,
                result_cut=cut[index],
                summed=dim == "C",
                shared=not cut[index]
                and dim != "E"
                and any(_splits(network, dims, reader) for reader in readers[index]),
                enters=bool(fresh),
                leaves=dim == "E" and any(dims[reader] != "E" for reader in readers[index]),
            )
        )
    return cuts


def _splits(network: Network, dims: list[str], reader: int) -> bool:
    """Whether a reader of a whole tensor multiplies it with a share of its weights only."""
    return dims[reader] == "K" or (dims[reader] == "G" and network.layers[reader].has_macs)


def token_wise(network: Network) -> bool:
    """Whether every layer but products of activations treats its tokens alone, so that they can be cut along them."""
    return all(
        layer.kind not in ("norm", "pool", "resize")
        and layer.repeats == 1
        and (layer.kind != "conv" or layer.R * layer.S == 1)
        for layer in network.layers
    )


def _makers(layers: tuple[Layer, ...], index: int, place: dict[str, int]) -> list[int]:
    layer = layers[index]
    names = (*layer.reads, *layer.reads_second)
    if not names:
        return [index - 1] if index else []
    return [place[name] for name in names if name in place]


def _dim(network: Network, index: int, inputs: list[bool], dims: list[str], readers: list[list[int]]) -> str:
    layer = network.layers[index]
    every = bool(inputs) and all(inputs)
    if layer.experts:
        return "E"
    if layer.kind == "embedding":
        return "C" if layer.N * layer.R < layer.C else ""
    if layer.kind == "matmul":
        return "G" if every else ""
    if layer.has_macs:
        if every:
            return "G" if layer.G > 1 else "" if layer.transposed else "C"
        return "K" if not layer.transposed and _can_stay_cut(network, index, readers) else ""
    if dims and all(dim == "E" for dim in dims):
        return "E"
    alone = layer.kind in (*_PER_CHANNEL, "loss") or (layer.kind == "softmax" and layer.Q > 1)
    return "G" if alone and every else ""


def _can_stay_cut(network: Network, index: int, readers: list[list[int]]) -> bool:
    """Whether all who read a result can take it cut by channels."""
    todo, seen = list(readers[index]), {index}
    while todo:
        reader = todo.pop()
        if reader in seen:
            continue
        seen.add(reader)
        layer = network.layers[reader]
        if layer.kind in ("conv", "fc", "matmul", "loss"):
            if layer.experts:
                return False
            continue
        if layer.kind == "add" or not (layer.kind in _PER_CHANNEL or (layer.kind == "softmax" and layer.Q > 1)):
            return False
        todo += readers[reader]
    return True
