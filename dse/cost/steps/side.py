"""What low precision costs beside the MACs: converting tensors, finding ranges, rounding, statistics of blocks, configuration.

Charged where a tensor is written (prices from :mod:`dse.hardware.prices.side_costs`):

* forward: the output to the layer's activation format, and every further copy of a tensor (:mod:`dse.cost.tensors.copies`), with
its write
* backward_data: the error to the layer's error format; backward_weight: the gradient to the gradient format
* optimizer: the weight from its master copy to its format
* layers without MACs: what they write

Conversions cost energy here, and time where no converter at the memory port keeps up (:mod:`dse.cost.steps.convert`). Scales are
those of the step before ("delayed scaling", Micikevicius et al., FP8 Formats for Deep Learning, arXiv 2209.05433, and NVIDIA's
Transformer Engine), so that a tensor is not read twice; its range is reduced while it streams by. Inference has fixed scales and
weights that are quantized beforehand.

Block-wise precision pays for its map with every access. Where the map is made online (``map_updates`` per step), the analytics
cost energy per element of every tensor that mixes formats, and the traffic of their moving averages. An element with several
width modes loads its configuration once per pass of a layer (Bit Fusion, ISCA 2018, section IV: the setup instruction of each
block of code), hidden behind the pass before. The time of the traffic listed here (stash copies, moving averages) is added to the
pass, not hidden behind its arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dse.cost.tensors.copies import Stored, has_result, result_cell
from dse.hardware.arrays import HardwareArrays
from dse.hardware.elements import element_family
from dse.hardware.model import Hardware
from dse.hardware.prices.arithmetic import float_multiply_pj, int_add_pj
from dse.hardware.prices.side_costs import (
    block_analytics_pj,
    block_exponent_pj,
    quantize_pj,
    range_reduction_pj,
    reconfiguration,
    stochastic_rounding_pj,
)
from dse.hardware.prices.technology import energy_scale
from dse.names import PASSES
from dse.precision.formats.properties import Format, family_of, stored_bits
from dse.precision.plans.cells import Cell, Histogram, formats_of
from dse.precision.plans.plan import Plan
from dse.precision.policies.blocks import block_policy_overhead
from dse.types import Floats
from dse.workload.model import Layer, Network
from dse.workload.work.vector import rows_hit, updated, vector_work

#: Energy components of this module.
SIDE_COMPONENTS = ("quantize", "range", "rounding", "analytics", "reconfigure")
#: Operands that a step writes and converts.
OPERANDS_WRITTEN = ("activation", "error", "gradient", "weight")
#: Passes of a step: those of the loop nests, then the optimizer's update.
STEP_PASSES = (*PASSES, "optimizer")
#: Width of the accumulators and master copies that tensors are converted from, bits.
WIDE_BITS = 32
#: Width in which kernels of products write their results where others convert them, bits.
PRODUCT_BITS = 16
#: Significand of a 32-bit float with its hidden bit.
WIDE_SIGNIFICAND = 24
#: Random bits of stochastic rounding per element, our choice: the width of a common shift register with feedback.
RANDOM_BITS = 16
#: Operands that are rounded stochastically: errors, as in DoReFa (arXiv 1606.06160) and LUQ (arXiv 2112.10769).
STOCHASTIC = ("error",)


@dataclass(frozen=True)
class SideCosts:
    """Side costs of D designs under I plans; energies factor into a share of the design and one of the plan.

    Attributes
    ----------
    factor
        (components, D) scale of each component.
    amount_j
        (components, I, layers, passes) joules at scale 1; components are :data:`SIDE_COMPONENTS`, passes :data:`STEP_PASSES`.
    read_bits, written_bits
        (I, layers, passes) DRAM traffic beside that of mappings and vector work.
    elements, operations
        (I, layers, passes) elements that are converted, and what a vector unit does for them, operations.
    kernels, kernel_bits
        (I, layers, passes) kernels of their own that converters run as, and bits that they move; 0 on hardware without such.
    """

    factor: Floats
    amount_j: Floats
    read_bits: Floats
    written_bits: Floats
    elements: Floats
    operations: Floats
    kernels: Floats
    kernel_bits: Floats

    def joules(self, component: int) -> Floats:
        """(D, I, layers, passes) joules of one of :data:`SIDE_COMPONENTS`."""
        return np.asarray(self.factor[component][:, None, None, None] * self.amount_j[component])


@dataclass(frozen=True)
class Written:
    """Elements of a layer's tensor that a pass writes in the format of an operand, for the whole batch."""

    pass_: str
    operand: str
    elements: float


def written_tensors(layer: Layer, batch: int, training: bool, parameters: int | None = None) -> list[Written]:
    """What a layer writes in a step, by pass and operand, without the copies of :mod:`dse.cost.tensors.copies`.

    Parameters
    ----------
    training
        False: inference, the forward pass alone.
    parameters
        Elements of the weight that the optimizer writes; default: all that are trained.
    """
    result = []
    if layer.has_macs:
        result.append(Written("forward", "activation", float(layer.output_elements) * batch))
        if training:
            if "backward_data" in layer.passes:
                result.append(Written("backward_data", "error", float(layer.input_elements) * batch))
            if "backward_weight" in layer.passes and layer.kind == "matmul":
                second = float(layer.second_elements) * batch
                result.append(Written("backward_weight", "error", second))
            elif "backward_weight" in layer.passes:
                result.append(Written("backward_weight", "gradient", float(layer.trained_parameters)))
    else:
        for pass_ in layer.passes if training else ("forward",):
            operand = "activation" if pass_ == "forward" else "error"
            if layer.kind == "embedding" and pass_ != "forward":
                continue
            result.append(Written(pass_, operand, vector_work(layer, pass_, training).writes * batch))
        if layer.kind == "embedding" and training and len(layer.passes) > 1:
            result.append(Written("backward_data", "gradient", float(rows_hit(layer, batch))))
    if training:
        count = layer.trained_parameters if parameters is None else parameters
        result.append(Written("optimizer", "weight", float(count)))
    return [item for item in result if item.elements > 0]


@lru_cache(maxsize=64)
def _written_of(network: Network, training: bool) -> dict[str, list[tuple[int, int, float]]]:
    """By operand: layer, place of the pass in :data:`STEP_PASSES` and elements of what a step writes."""
    result: dict[str, list[tuple[int, int, float]]] = {operand: [] for operand in OPERANDS_WRITTEN}
    for l, (layer, item) in enumerate(zip(network.layers, updated(network), strict=True)):
        for written in written_tensors(layer, network.batch, training, item.parameters):
            result[written.operand].append((l, STEP_PASSES.index(written.pass_), written.elements))
    return result


def side_costs(
    network: Network,
    hardware: Hardware,
    arrays: HardwareArrays,
    plans: Sequence[Plan],
    mode: str,
    stored: Sequence[Stored],
    stochastic: Sequence[str] = STOCHASTIC,
    map_updates: float = 0.0,
) -> SideCosts:
    """Side costs of one step of the whole batch.

    Parameters
    ----------
    mode
        ``training`` or ``inference``.
    stored
        How the tensors lie in memory under each plan.
    stochastic
        Operands that are rounded stochastically in training.
    map_updates
        How often per training step the analytics of block-wise tensors run.
    """
    training = mode == "training"
    layers = network.layers
    shape = (len(plans), len(layers), len(STEP_PASSES))
    amount = np.zeros((len(SIDE_COMPONENTS), *shape))
    read, written, converted, operations, kernels, kernel_bits = (np.zeros(shape) for _ in range(6))
    apart = hardware.converter is not None and hardware.converter.kernel_bandwidth > 0
    for operand in OPERANDS_WRITTEN:
        items = _written_of(network, training)[operand]
        random = training and operand in stochastic
        # Weights are written once per step, the rest in each of its passes.
        updates = map_updates if operand == "weight" or not training else map_updates / network.accumulate
        for i, plan in enumerate(plans):
            cells = plan.cells(operand)
            if operand in ("activation", "error") and has_result(plan):
                own = [result_cell(network, plan, l) for l in range(len(layers))]
                cells = tuple(cell if wide is None else wide for cell, wide in zip(cells, own, strict=True))
            if not items:
                continue
            at, passes, elements = (np.array(column) for column in zip(*items, strict=True))
            price = np.array([_element_pj(cells[l], training, random, updates) for l in at])
            amount[:4, i, at, passes] += elements * 1e-12 * price.T
            each = np.array([vector_operations(cells[l], training, random) for l in at])
            operations[i, at, passes] += elements * each
            converted[i, at, passes] += elements * (each > 0)
            if apart:
                work = [_kernels(cells[l], layers[l].has_macs or operand == "weight") for l in at]
                kernels[i, at, passes] += [kernel.runs for kernel in work]
                kernel_bits[i, at, passes] += elements * [kernel.bits for kernel in work]
            if training and plan.is_blockwise and updates > 0:
                averages = updates * np.array([_average_bits(cells[l], int(count)) for l, _, count in items])
                read[i, at, passes] += averages
                written[i, at, passes] += averages
    for i, copies in enumerate(stored):
        for place, cell, count in copies.converted:
            amount[:4, i, place, 0] += count * 1e-12 * _element_pj(cell, training, False)
            operations[i, place, 0] += count * vector_operations(cell, training, False)
            converted[i, place, 0] += count
            if apart:
                kernel = _kernels(cell, True)
                kernels[i, place, 0] += kernel.runs
                kernel_bits[i, place, 0] += count * kernel.read_bits
        for turned in copies.turned:
            p = STEP_PASSES.index(turned.pass_)
            amount[0, i, turned.layer, p] += turned.elements * 1e-12 * convert_cell_pj(turned.cell)
            written[i, turned.layer, p] += turned.written_bits
            operations[i, turned.layer, p] += turned.elements * vector_operations(turned.cell, False, False)
            converted[i, turned.layer, p] += turned.elements
        # Layers without MACs count what they write beside their results among their own traffic.
        written[i, :, 0] += np.where([layer.has_macs for layer in layers], copies.written, 0.0)
    if element_family(hardware.pe.family).reconfigures:
        for l, layer in enumerate(layers):
            for pass_ in layer.passes if training else ("forward",):
                if layer.has_macs:
                    amount[4, :, l, STEP_PASSES.index(pass_)] = 1.0
    scale = energy_scale(arrays.node_nm) * arrays.logic_scale
    elements = arrays.axis_size.prod(axis=1)
    setup = reconfiguration(elements, 1, arrays.node_nm).energy_pj * arrays.logic_scale * 1e-12
    return SideCosts(
        np.array([scale, scale, scale, scale, setup]),
        amount,
        read,
        written,
        converted,
        operations,
        kernels,
        kernel_bits,
    )


class _Kernels(NamedTuple):
    """Kernels that convert a tensor, and bits that they read and write per element."""

    runs: float
    read_bits: float
    written_bits: float

    @property
    def bits(self) -> float:
        return self.read_bits + self.written_bits


@lru_cache(maxsize=4096)
def _kernels(cell: Cell, apart: bool) -> _Kernels:
    """What a GPU runs for a tensor of 16 bits that becomes one of narrower elements, as :data:`dse.system.products.RECIPES` has it.

    One kernel casts; one more reads the tensor before it where a scale of the whole tensor has to be known. Not ``apart``:
    kernels of layers without MACs cast what they write, and only the range is one of its own.
    """
    shares = cell.shares if isinstance(cell, Histogram) else (1.0,) * len(formats_of(cell))
    found = [
        (share, 1 + ("tensor" in (form.granularity, form.outer)), stored_bits(form))
        for share, form in zip(shares, formats_of(cell), strict=True)
        if form.element_bits < PRODUCT_BITS
    ]
    count, read, written = 0.0, 0.0, 0.0
    for share, passes, bits in found:
        passes -= not apart
        count, read, written = max(count, passes), read + share * passes * PRODUCT_BITS, written + share * bits * apart
    return _Kernels(float(count), read, written)


@lru_cache(maxsize=4096)
def vector_operations(cell: Cell, training: bool, stochastic: bool) -> float:
    """Operations of a vector unit that converts one element: the steps that :func:`conversion_pj` prices, in the mean over a
    histogram.

    In training the reductions of its ranges, one comparison each, and for stochastic rounding a random number and its addition.
    What undoes the scales of the operands in a sum is in the multiplication by the scale of the result.

    >>> from dse.precision.formats.properties import parse_format
    >>> [vector_operations(parse_format(name), False, False) for name in ("fp32", "bf16", "int8", "mxfp8", "fp8_e4m3:128")]
    [0.0, 2.0, 4.0, 3.0, 3.0]
    """
    if cell is None:
        return 0.0
    if isinstance(cell, Histogram):
        shares = zip(cell.shares, cell.formats, strict=False)
        return sum(share * vector_operations(form, training, stochastic) for share, form in shares)
    family = family_of(cell)
    convert = OPERATIONS[family.converter](cell)
    return convert + (family.ranges(cell) if training else 0) + (2 if stochastic and convert > 0 else 0)


def _average_bits(cell: Cell, elements: int) -> float:
    """Bits of the moving averages of a tensor's blocks, read once and written once; the map is among the stored bits."""
    if not (isinstance(cell, Histogram) and cell.is_mixed):
        return 0.0
    return block_policy_overhead(elements, cell.block, widths=1).traffic_bits / 2


@lru_cache(maxsize=4096)
def _element_pj(cell: Cell, training: bool, stochastic: bool, map_updates: float = 0.0) -> Floats:
    """(4,) pJ per element at 45 nm: converting, range, rounding, analytics."""
    if cell is None:
        return np.zeros(4)
    if isinstance(cell, Histogram):
        parts = [_element_pj(form, training, stochastic) for form in cell.formats]
        mean = np.array([share * part for share, part in zip(cell.shares, parts, strict=True)]).sum(axis=0)
        if training and cell.is_mixed:
            mean[3] = map_updates * float(block_analytics_pj(8, cell.block[0] * cell.block[1]))
        return np.asarray(mean)
    convert = conversion_pj(cell)
    span = range_pj(cell) if training else 0.0
    random = float(stochastic_rounding_pj(RANDOM_BITS)) if stochastic and convert > 0 else 0.0
    return np.array([convert, span, random, 0.0])


def convert_cell_pj(cell: Cell) -> float:
    """Converting one element to what a cell of a plan holds, in the mean over a histogram, pJ at 45 nm."""
    return float(_element_pj(cell, training=False, stochastic=False)[0])


def conversion_pj(form: Format) -> float:
    """Converting one 32-bit element to a format, nearest rounding, pJ at 45 nm; 0 for 32-bit floats.

    Integers with a scale: requantization (:func:`dse.hardware.prices.side_costs.quantize_pj`); fixed point: a rounding addition
    and two comparisons; blocks with a shared exponent, MX and MLS: exponent, shift and rounding; floats: a rounding addition of the
    significand and one of the exponent, before it a multiplication in FP32 where they have a scale; NF4: that multiplication and a
    comparison for each bit of the place in its table.
    """
    return CONVERTERS[family_of(form).converter](form)


def range_pj(form: Format) -> float:
    """Finding the range of a tensor for the next step's scale, per element, pJ at 45 nm.

    One reduction (largest magnitude) for scaled integers; two for asymmetric ones and ActNN (smallest and largest) and for S2FP8
    (mean and largest of the logarithms, Cambier et al., ICLR 2020); none where the block's exponent is found as it is converted.
    """
    return float(range_reduction_pj(WIDE_BITS)) * family_of(form).ranges(form)


def _scaled(form: Format) -> float:
    return float(quantize_pj(form.element_bits, WIDE_BITS))


def _block(form: Format) -> float:
    return float(block_exponent_pj(form.element_bits, max(form.group_elements, 1)))


def _float(form: Format) -> float:
    if form.element_bits >= WIDE_BITS:
        return 0.0
    rounding = float(int_add_pj(form.mantissa_bits + 1) + int_add_pj(form.exponent_bits))
    return rounding + _scaling(form)


def _table(form: Format) -> float:
    return _scaling(form) + form.element_bits * float(int_add_pj(WIDE_SIGNIFICAND))


def _scaling(form: Format) -> float:
    """A multiplication by the reciprocal of a float's scale, where there is one."""
    return 0.0 if form.granularity == "none" else float(float_multiply_pj(WIDE_SIGNIFICAND))


#: Price of converting one 32-bit element, pJ at 45 nm, by what converts it (``Family.converter``).
CONVERTERS: dict[str, Callable[[Format], float]] = {
    "scale": _scaled,
    "fixed": lambda form: float(3 * int_add_pj(form.element_bits)),
    "block": _block,
    "float": _float,
    "table": _table,
}
#: Operations of a vector unit per element, by the same names: scale (a multiplication), shift, rounding, two comparisons of
#: saturation.
OPERATIONS: dict[str, Callable[[Format], float]] = {
    "scale": lambda form: 4.0,
    "fixed": lambda form: 3.0,
    "block": lambda form: 3.0,
    "float": lambda form: 0.0 if form.element_bits >= WIDE_BITS else 2.0 + (form.granularity != "none"),
    "table": lambda form: 1.0 + form.element_bits,
}
