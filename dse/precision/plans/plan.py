"""Plans: a format for every tensor of a network.

A plan has one cell per operand and layer, in the order of the network's layers. Rules for what is not given:

* ``activation`` is the tensor that a layer reads, ``error`` the loss gradient of the tensor that it writes.
* A layer without MACs that is not named takes the cells of the next layer with MACs, whose input it prepares (the last
  ones take those of the last layer with MACs).
* ``stash`` is the activation's format; ``accumulator`` is chosen by the hardware; ``result``, for hardware that writes wide sums,
  is the format that readers multiply.
* ``gradient``, ``master`` and ``optimizer`` are ``fp32``: weights are updated on a float32 master copy (Micikevicius et
  al., Mixed Precision Training, ICLR 2018; AdaPT arXiv 2107.13490), and ``backward_weight`` accumulates in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dse.errors import InputError, Problem
from dse.files import write_text
from dse.names import MAC_OPERANDS, OPERANDS
from dse.precision.formats.properties import Format, Matrix, multiplier_bits, stored_bits
from dse.precision.formats.storage import moved_bits
from dse.precision.plans.cells import Cell, Histogram, Joint, formats_of, joint_problem, lies_along_one_axis
from dse.precision.plans.file import COPIES_KEY, is_path, plan_text, read_copies, read_plan, short_formats
from dse.precision.plans.labels import plan_label
from dse.precision.plans.recipes import LINEAR, PLAIN, in_linear_layers
from dse.precision.plans.rules import DEFAULTS, Given, NamedNetwork, has_macs, read_cell, read_row
from dse.types import Floats, Ints
from dse.yaml_input import Document, load_yaml, suggest

#: A tensor whose format has groups along one axis is kept ``two`` times, along each axis; or it is kept in a wide format from which
#: it is ``requantize``-d where it is read; or its ``one`` copy serves all passes, on hardware that can do so.
COPIES = ("two", "requantize", "one")
_NOTHING_TURNS = "means nothing here: no format of the plan has groups along one axis, as block formats have"


class Choices(NamedTuple):
    """Formats of one operand: ``shares[layer, choice]`` sums to 1 in every layer."""

    formats: tuple[Format, ...]
    shares: Floats


class Pairs(NamedTuple):
    """Formats of the two operands of a MAC: ``shares[layer, i, j]`` of its MACs meet ``first[i]`` and ``second[j]``."""

    first: tuple[Format, ...]
    second: tuple[Format, ...]
    shares: Floats


@dataclass(frozen=True)
class Plan:
    """Formats of all tensors of a network.

    Attributes
    ----------
    network
        Name of the network.
    layers
        Names of all its layers, in order.
    table
        ``table[operand][layer]`` in the order of :data:`OPERANDS`: a format, a histogram of block formats, or None where one of
        :data:`dse.precision.plans.cells.OPTIONAL` has no format of its own.
    joint
        Joint block histograms; operands without one are independent.
    copies
        How training gets the groups along the other axis that its backward passes multiply, one of :data:`COPIES`; "": as the
        formats need it, which is ``two`` where groups lie along one axis, and none where they are square or there are none.
    """

    network: str
    layers: tuple[str, ...]
    table: tuple[tuple[Cell, ...], ...]
    joint: tuple[Joint, ...] = ()
    copies: str = ""

    def __repr__(self) -> str:
        return f"Plan({self.network}, {self.label})"

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.network, self.table, self.copies))

    def __getstate__(self) -> dict[str, Any]:
        # hashes of texts differ from process to process
        return {name: value for name, value in vars(self).items() if name != "_hash"}

    @classmethod
    def uniform(
        cls,
        net: NamedNetwork,
        weight: Given = "int8",
        activation: Given = "int8",
        error: Given = "int8",
        gradient: Given = "fp32",
        master: Given = "fp32",
        optimizer: Given = "fp32",
        stash: Given = None,
        accumulator: Given = None,
        result: Given = None,
        copies: str = "",
    ) -> Plan:
        """The same formats in every layer.

        Raises
        ------
        InputError
            A name is no number format, or a stash-only format is given to another operand.
        """
        given = (weight, activation, error, gradient, master, optimizer, stash, accumulator, result)
        return cls.from_formats(net, dict(zip(OPERANDS, given, strict=True)), copies=copies)

    @classmethod
    def from_bits(
        cls,
        net: NamedNetwork,
        weight: int | Mapping[str, int],
        activation: int | Mapping[str, int] | None = None,
        error: int | Mapping[str, int] = 8,
        family: str = "int",
        default: int | None = None,
        kept: Mapping[str, int] | None = None,
        stash: Given = None,
    ) -> Plan:
        """Widths of one family of formats: one number, or a number per layer.

        Parameters
        ----------
        activation
            None: as the weight.
        family
            What to put before a number: ``int`` or ``bfp``.
        default
            Width of layers with MACs that a mapping leaves out; without it they are an error that names them.
        kept
            Layers whose weight and activation keep a width, whatever the rest says.

        Raises
        ------
        InputError
            All unknown and missing layers and all widths that make no format, at once.
        """
        widths: dict[str, Any] = {
            "weight": weight,
            "activation": weight if activation is None else activation,
            "error": error,
        }
        formats: dict[str, Any] = {}
        for operand, value in widths.items():
            if isinstance(value, Mapping):
                formats[operand] = {layer: f"{family}{bits}" for layer, bits in value.items()}
            else:
                formats[operand] = f"{family}{value}"
            if kept and operand != "error":
                if not isinstance(formats[operand], dict):
                    formats[operand] = {layer.name: formats[operand] for layer in net.layers if has_macs(layer)}
                formats[operand] |= {layer: f"{family}{bits}" for layer, bits in kept.items()}
        return cls.from_formats(
            net, {**formats, "stash": stash}, default=None if default is None else f"{family}{default}"
        )

    @classmethod
    def from_formats(
        cls,
        net: NamedNetwork,
        formats: Mapping[str, Given | Mapping[str, Given]],
        default: Given = None,
        joint: Iterable[Joint] = (),
        copies: str = "",
    ) -> Plan:
        """Any cells: for each operand one format for all layers, or one per layer.

        Parameters
        ----------
        formats
            By operand. ``weight``, ``activation`` and ``error`` are needed (or ``default``).
        default
            For layers with MACs, and operands of a MAC, that are left out.
        """
        problems = [
            Problem(str(key), f"unknown operand{suggest(str(key), OPERANDS)}") for key in formats if key not in OPERANDS
        ]
        layers = tuple(layer.name for layer in net.layers)
        if not layers:
            problems.append(Problem("", f"network '{net.name}' has no layers"))
        rows = []
        for operand in OPERANDS:
            given = formats.get(operand, DEFAULTS.get(operand))
            if operand in MAC_OPERANDS and given is None:
                given = default
                if given is None:
                    problems.append(Problem(operand, "missing; give a format, or one per layer"))
            if isinstance(given, Mapping):
                rows.append(read_row(net, layers, operand, given, default, problems))
            else:
                rows.append((read_cell(given, operand, operand, problems),) * len(layers))
        if problems:
            raise InputError(f"plan of {net.name}", problems)
        return cls(net.name, layers, tuple(rows))._with_joint(joint).with_copies(copies)

    @classmethod
    def parse(cls, text: str, net: NamedNetwork) -> Plan:
        """A plan in short (see :func:`dse.precision.plans.file.short_formats`), a recipe of linear layers
        (:data:`dse.precision.plans.recipes.LINEAR`), or the path of a plan's YAML file."""
        short = text.strip()
        if is_path(short):
            return cls.load(short, net)
        given = COPIES_KEY.search(short)
        copies = given[1] if given else ""
        name, comma, rest = COPIES_KEY.sub("", short).partition(",")
        recipe = LINEAR.get(name.strip().lower())
        if recipe is None:
            formats = short_formats(name + comma + rest)
            made = cls.from_formats(net, formats, default=formats["activation"], copies=copies)
        else:
            own = short_formats(recipe.formats)
            # What is named, whatever stands for the operands that are not.
            named, other = (short_formats(f"{base}{comma}{rest}") for base in (PLAIN, "fp32"))
            changed = {operand: form for operand, form in named.items() if form == other[operand]}
            made = cls.from_formats(net, in_linear_layers(net, own | changed), copies=copies)
        if given and not made._turns:
            raise InputError("plan", [f"'{text}': copies={given[1]} {_NOTHING_TURNS}"])
        return made

    @classmethod
    def load(cls, path: str | Path, net: NamedNetwork) -> Plan:
        """Read a plan that :meth:`save` or a person wrote.

        Raises
        ------
        InputError
            Every unknown key, format and layer, every missing layer, with its line.
        """
        return cls.from_document(load_yaml(path), net)

    @classmethod
    def from_document(cls, document: Document, net: NamedNetwork) -> Plan:
        """A plan from a document that was already read; see :meth:`load`."""
        names = tuple(layer.name for layer in net.layers)
        formats, joint = read_plan(document, net.name, names)
        try:
            made = cls.from_formats(net, formats, joint=joint, copies=read_copies(document, COPIES))
        except InputError as error:
            raise InputError(document.source, error.problems) from None
        if made.copies and not made._turns:
            raise InputError(document.source, [document.problem(("copies",), _NOTHING_TURNS)])
        return made

    def save(self, path: str | Path) -> None:
        """Write the plan as YAML, layers grouped by format; atomically.

        Raises
        ------
        InputError
            It cannot be written; an old file is untouched.
        """
        write_text(Path(path), self.to_yaml())

    def to_yaml(self) -> str:
        """The text that :meth:`save` writes."""
        return plan_text(self.network, self.layers, self.table, self.joint, self.copies if self._turns else "")

    @property
    def _turns(self) -> bool:
        """Whether any tensor has groups along one axis, which ``copies`` is about."""
        return any(lies_along_one_axis(cell) for cell in {cell for row in self.table for cell in row})

    def part(self, layers: Sequence[str]) -> Plan:
        """The plan of some of the layers, in the order given.

        Raises
        ------
        InputError
            The plan has no such layer.
        """
        at = {name: index for index, name in enumerate(self.layers)}
        if missing := [name for name in layers if name not in at]:
            raise InputError(
                "plan", [f"of {self.network} has no layer '{name}'{suggest(name, at)}" for name in missing]
            )
        table = tuple(tuple(row[at[name]] for name in layers) for row in self.table)
        joint = tuple(item for item in self.joint if item.layer in set(layers))
        return replace(self, layers=tuple(layers), table=table, joint=joint)

    def cells(self, operand: str) -> tuple[Cell, ...]:
        """Format or histogram of an operand in every layer; None only for an accumulator and a result without one."""
        row = self.table[_operand(operand)]
        if operand == "stash" and None in row:
            activation = self.table[_operand("activation")]
            return tuple(follow if cell is None else cell for cell, follow in zip(row, activation, strict=True))
        return row

    def stored_bits(
        self,
        operand: str,
        group_elements: Floats | float | None = None,
        matrices: Sequence[Matrix] | None = None,
    ) -> Floats:
        """Bits of memory per element, shape (layers,), with scales, exponents and bit-width maps; NaN if there is no format.

        Parameters
        ----------
        matrices
            The tensor of every layer as the pass that reads it sees it: scales and maps as its shape cuts them, but for a scale of
            the whole tensor. The cost model has them from :mod:`dse.cost.tensors.storage`; without them groups are whole.
        group_elements
            Elements per scale where that follows the tensor's shape; see :func:`dse.precision.formats.properties.stored_bits`.
        """
        cells = self.cells(operand)
        if matrices is not None:
            return bits_of_cells(cells, tuple(matrices))
        if group_elements is None:
            known = {cell: _cell_bits(cell, None) for cell in set(cells)}
            return np.array([known[cell] for cell in cells])
        sizes = np.broadcast_to(np.asarray(group_elements, dtype=np.float64), (len(cells),)).tolist()
        return np.array([_cell_bits(cell, size) for cell, size in zip(cells, sizes, strict=True)])

    def multiplier_bits(self, operand: str) -> Ints:
        """Width of the integer multiplier that the operand needs, shape (layers,); of a histogram, its widest; 0 if none."""
        return self._widest(operand, multiplier_bits)

    def widths(self, operand: str) -> Ints:
        """Nominal bits of an element (8 for int8, bfp8 and fp8), shape (layers,); of a histogram, its widest; 0 if none."""
        return self._widest(operand, _element_bits)

    def choices(self, operand: str) -> Choices:
        """All formats of an operand and their shares per layer; for a plan without block-wise cells, shares are 0 or 1."""
        cells = self.cells(operand)
        formats = tuple(dict.fromkeys(form for cell in cells for form in formats_of(cell)))
        index = {form: column for column, form in enumerate(formats)}
        shares = np.zeros((len(cells), len(formats)))
        for layer, cell in enumerate(cells):
            weights = cell.shares if isinstance(cell, Histogram) else (1.0,)
            for form, share in zip(formats_of(cell), weights, strict=False):
                shares[layer, index[form]] = share
        return Choices(formats, shares)

    def pairs(self, first: str, second: str) -> Pairs:
        """Formats that meet in the MACs of each layer; independent unless a joint histogram is given."""
        left, right = self.choices(first), self.choices(second)
        shares = left.shares[:, :, None] * right.shares[:, None, :]
        for joint in self.joint:
            if set(joint.operands) != {first, second}:
                continue
            layer = self.layers.index(joint.layer)
            rows = np.array(joint.shares) if joint.operands == (first, second) else np.array(joint.shares).T
            here = [formats_of(self.cells(operand)[layer]) for operand in (first, second)]
            columns = [
                [side.formats.index(form) for form in forms] for side, forms in zip((left, right), here, strict=True)
            ]
            shares[layer] = 0.0
            shares[layer][np.ix_(*columns)] = rows
        return Pairs(left.formats, right.formats, shares)

    def unmixed(self, first: str, second: str) -> list[tuple[Plan, Floats]]:
        """Plans without histograms in two operands, and the share of each layer's MACs that runs as in each of them.

        What a pass over these two operands costs is the sum over the plans of share x cost, layer by layer; the tensors are
        stored as in the mixed plan (:meth:`stored_bits`, with its map).

        Returns
        -------
        Plans with shares of shape (layers,), which sum to 1 over the plans. A plan without histograms is its own, share 1.
        """
        pairs = self.pairs(first, second)
        found = []
        for i, j in np.argwhere(pairs.shares.any(axis=0)).tolist():
            table = list(self.table)
            for operand, form in ((first, pairs.first[i]), (second, pairs.second[j])):
                # A layer without this format has share 0 here; it may hold any of its own.
                row = [form if form in formats_of(cell) else formats_of(cell)[0] for cell in self.cells(operand)]
                table[_operand(operand)] = tuple(row)
            found.append((replace(self, table=tuple(table), joint=()), pairs.shares[:, i, j]))
        merged: dict[Plan, Floats] = {}
        for plan, shares in found:
            merged[plan] = merged[plan] + shares if plan in merged else shares
        return list(merged.items())

    @cached_property
    def is_blockwise(self) -> bool:
        """Whether any cell is a histogram."""
        return any(isinstance(cell, Histogram) for row in self.table for cell in row)

    @property
    def label(self) -> str:
        """Its name in tables, in the grammar of ``--plan``: see :func:`dse.precision.plans.labels.plan_label`."""
        return plan_label(self)

    def with_copies(self, copies: str) -> Plan:
        """The same plan with another answer to what backward passes multiply, one of :data:`COPIES`, or "" for the formats'."""
        if copies not in ("", *COPIES):
            raise InputError(f"plan of {self.network}", [f"copies: '{copies}' is unknown{suggest(copies, COPIES)}"])
        return replace(self, copies=copies) if copies != self.copies else self

    def with_operand(self, operand: str, given: Given) -> Plan:
        """The same plan with one operand in another format, in every layer."""
        problems: list[Problem] = []
        row = (read_cell(given, operand, operand, problems),) * len(self.layers)
        if problems:
            raise InputError(f"plan of {self.network}", problems)
        kept = tuple(joint for joint in self.joint if operand not in joint.operands)
        position = _operand(operand)
        return replace(self, table=(*self.table[:position], row, *self.table[position + 1 :]), joint=kept)

    def keep(self, layers: Mapping[str, Given], operands: Sequence[str] = ("weight", "activation")) -> Plan:
        """The same plan with some layers kept at a format, such as ``{"conv1": "int8", "fc": "int8"}``."""
        problems = [
            Problem(name, f"no such layer{suggest(name, self.layers)}") for name in layers if name not in self.layers
        ]
        cells = {name: read_cell(given, operands[0], name, problems) for name, given in layers.items()}
        if problems:
            raise InputError(f"plan of {self.network}", problems)
        table = list(self.table)
        for operand in operands:
            row = table[_operand(operand)]
            table[_operand(operand)] = tuple(cells.get(name, cell) for name, cell in zip(self.layers, row, strict=True))
        joint = tuple(item for item in self.joint if item.layer not in cells)
        return replace(self, table=tuple(table), joint=joint)

    def tied(self, net: NamedNetwork) -> Plan:
        """The same plan where layers that read one tensor (equal ``tie``) read it in the widest of their formats."""
        groups: dict[str, list[int]] = {}
        for index, layer in enumerate(net.layers):
            if getattr(layer, "tie", ""):
                groups.setdefault(str(getattr(layer, "tie", "")), []).append(index)
        row = list(self.cells("activation"))
        for members in groups.values():
            widest = max((row[index] for index in members), key=lambda cell: _cell_bits(cell, None))
            for index in members:
                row[index] = widest
        table = list(self.table)
        table[_operand("activation")] = tuple(row)
        return replace(self, table=tuple(table), joint=()) if tuple(row) != self.cells("activation") else self

    def _widest(self, operand: str, width: Any) -> Ints:
        cells = self.cells(operand)
        known = {cell: max((width(form) for form in formats_of(cell)), default=0) for cell in set(cells)}
        return np.array([known[cell] for cell in cells], dtype=np.int64)

    def _with_joint(self, joint: Iterable[Joint]) -> Plan:
        items = tuple(joint)
        problems = []
        for item in items:
            where = f"joint of {item.layer}"
            if item.layer not in self.layers:
                problems.append(Problem(where, f"no such layer{suggest(item.layer, self.layers)}"))
            elif len(set(item.operands)) != 2 or not set(item.operands) <= set(MAC_OPERANDS):
                problems.append(Problem(where, f"expected two of {', '.join(MAC_OPERANDS)}, got {list(item.operands)}"))
            else:
                layer = self.layers.index(item.layer)
                message = joint_problem(item, *(self.cells(operand)[layer] for operand in item.operands))
                if message:
                    problems.append(Problem(where, message))
        if problems:
            raise InputError(f"plan of {self.network}", problems)
        return replace(self, joint=items) if items else self


def _operand(operand: str) -> int:
    if operand not in OPERANDS:
        raise InputError("plan", [f"unknown operand '{operand}'{suggest(operand, OPERANDS)}"])
    return OPERANDS.index(operand)


def _element_bits(form: Format) -> int:
    return form.element_bits


def bits_of_cells(cells: Sequence[Cell], matrices: tuple[Matrix, ...]) -> Floats:
    """(layers,) bits per element of one cell and matrix per layer; see :func:`cell_bits`."""
    different = set(cells)
    if len(different) == 1:
        return _column(cells[0], matrices).copy()
    columns = {cell: _column(cell, matrices) for cell in different}
    return np.array([columns[cell][layer] for layer, cell in enumerate(cells)])


@lru_cache(maxsize=4096)
def _column(cell: Cell, matrices: tuple[Matrix, ...]) -> Floats:
    return np.array([cell_bits(cell, matrix) for matrix in matrices])


@lru_cache(maxsize=65536)
def cell_bits(cell: Cell, matrix: Matrix) -> float:
    """Bits per element that move with a tensor in a cell's formats, scales and map as its shape cuts them; NaN without a format."""
    if cell is None:
        return float("nan")
    if isinstance(cell, Format):
        return moved_bits(cell, matrix)
    mean = sum(moved_bits(form, matrix) * share for form, share in zip(cell.formats, cell.shares, strict=True))
    return mean + cell.code_bits * matrix.groups(*cell.block) / max(matrix.elements, 1)


def _cell_bits(cell: Cell, group_elements: float | None) -> float:
    if cell is None:
        return float("nan")
    if isinstance(cell, Format):
        return stored_bits(cell, group_elements)
    mean = sum(stored_bits(form, group_elements) * share for form, share in zip(cell.formats, cell.shares, strict=True))
    return mean + cell.map_bits
