"""What a tensor takes in memory: elements, and scales as the tensor's own shape cuts its groups.

A tensor is seen as the pass that reads it does: as matrices whose columns lie along the reduction. Groups of ``h x w`` elements
tile each matrix from its corner; where they reach over the edge they are shorter and have a scale all the same, so that
``ceil(rows / h) * ceil(columns / w)`` scales are stored. A row of 40 elements in blocks of 32 has two scales, the nine weights of a
depthwise filter have one (OCP Microscaling Formats 1.0, section 5.2: a block is k elements of a tensor along a given axis; what
padding to whole blocks would add to the elements is not stored).
"""

from __future__ import annotations

from typing import NamedTuple

from dse.precision.formats.model import Format


class Matrix(NamedTuple):
    """A tensor as the product that reads it sees it.

    Attributes
    ----------
    stack
        Matrices side by side, between which no group reaches.
    rows, columns
        Of each; columns lie along the reduction.
    channels
        Scales of a format with one per channel: output channels of a weight, features of an activation.
    plane
        Elements of a plane of a filter or of a feature map; 1 where there is none, and a row stands for it.
    """

    stack: int
    rows: int
    columns: int
    channels: int = 1
    plane: int = 1

    @property
    def elements(self) -> int:
        """Elements of all matrices."""
        return self.stack * self.rows * self.columns

    def groups(self, height: int, width: int) -> int:
        """Groups of so many rows and columns that cover the matrices."""
        return self.stack * -(-self.rows // height) * -(-self.columns // width)


def side_bits(form: Format, matrix: Matrix) -> int:
    """Bits of scales, exponents and zero points of a whole tensor."""
    return (
        _scales(form, form.granularity, matrix) * form.scale_bits + _scales(form, form.outer, matrix) * form.outer_bits
    )


def moved_bits(form: Format, matrix: Matrix) -> float:
    """Bits per element that move with a tensor: all but a scale of the whole tensor, one number that a layer's program holds."""
    whole = (form.granularity == "tensor") * form.scale_bits + (form.outer == "tensor") * form.outer_bits
    return form.element_bits + (side_bits(form, matrix) - whole) / max(matrix.elements, 1)


def tensor_bits(form: Format, matrix: Matrix) -> int:
    """Bits of a whole tensor in memory.

    >>> from dse.precision.formats.names import parse_format
    >>> tensor_bits(parse_format("mxfp8_e4m3"), Matrix(1, 1, 40)), tensor_bits(parse_format("int8:channel"), Matrix(1, 4, 9, 4))
    (336, 416)
    """
    return matrix.elements * form.element_bits + side_bits(form, matrix)


def _scales(form: Format, granularity: str, matrix: Matrix) -> int:
    """Scales of a tensor."""
    if granularity == "group":
        return matrix.groups(*form.group)
    if granularity == "flat":
        return -(-matrix.elements // form.group_elements)
    if granularity == "plane" and matrix.plane > 1:
        return -(-matrix.elements // matrix.plane)
    return {"none": 0, "tensor": 1, "channel": matrix.channels}.get(granularity, matrix.stack * matrix.rows)
