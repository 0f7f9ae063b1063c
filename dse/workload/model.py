"""A network: its layers as loop bounds, and what its training needs to know."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path

from dse.errors import InputError, control_problem
from dse.files import write_text
from dse.names import DIMS, PASSES
from dse.showing import html_table, one_line
from dse.units import format_value
from dse.workload.layer import FUNCTIONS, GATES, MAC_KINDS, VECTOR_KINDS, Folded, Layer, Mask
from dse.workload.nests.bounds import batch_problem, size_fault, total_fault
from dse.workload.nests.text import nests_text
from dse.yaml_input import yaml_word

__all__ = [
    "DIMS", "FUNCTIONS", "GATES", "MAC_KINDS", "OPTIMIZERS", "PASSES", "VECTOR_KINDS", "Folded", "Layer", "Mask", "Network",
    "network_text",
]  # fmt: skip

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")

#: Everything of a layer that its own work depends on.
_WORK = attrgetter(
    *(field.name for field in fields(Layer) if field.name not in ("name", "tie", "reads", "reads_second"))
)


@dataclass(frozen=True)
class Network:
    """A network with what its training needs to know; see :func:`dse.load_workload`.

    Attributes
    ----------
    name, source
        Name of the file without suffix; where the shapes were published.
    layers
        All layers in network order, with and without MACs.
    batch, samples, epochs
        Samples per pass through the network, samples per epoch, epochs of the published recipe.
    optimizer
        One of :data:`OPTIMIZERS`.
    path
        The file it came from, or "" if made in code.
    accumulate
        Passes forward and backward whose gradients are summed before the optimizer updates once: a step has ``batch * accumulate``
        samples.
    """

    name: str
    source: str
    layers: tuple[Layer, ...]
    batch: int
    samples: int
    epochs: int
    optimizer: str = "momentum"
    path: str = ""
    accumulate: int = 1

    def __repr__(self) -> str:
        facts = [f"{len(self.layers)} layers", f"{len(self.mac_layers)} with MACs", format_value(self.macs, "MAC")]
        facts += [f"{format_value(self.parameters / 1e6)} M parameters", f"batch {self.batch}"]
        return one_line("Network", self.name, facts)

    def _repr_html_(self) -> str:
        rows = [(layer.name, layer.kind, layer.macs, layer.parameters) for layer in self.layers]
        return html_table(repr(self), ["layer", "kind", "macs", "parameters"], rows)

    def __hash__(self) -> int:
        # what is known of a network is often looked up; its layers are compared only where these are equal
        return hash((self.name, self.batch, self.accumulate, len(self.layers)))

    @property
    def mac_layers(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.has_macs)

    @property
    def vector_layers(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if not layer.has_macs)

    @cached_property
    def alike(self) -> tuple[int, ...]:
        """For each layer the place of the first one that is equal to it but for its name and what it reads."""
        first: dict[object, int] = {}
        return tuple(first.setdefault(_WORK(layer), place) for place, layer in enumerate(self.layers))

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates per sample."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.samples // (self.batch * self.accumulate))

    def with_batch(self, batch: int) -> Network:
        """The same network at another batch size.

        Raises
        ------
        InputError
            No integer >= 1, more than any step has (:data:`dse.workload.nests.bounds.LARGEST_BATCH`), or more than the
            program's integers hold.
        """
        if problem := batch_problem(batch):
            raise InputError("batch", [problem])
        return replace(self, batch=int(batch)).check_sizes()

    def check_sizes(self, source: str = "") -> Network:
        """The network itself, if the program's integers hold it (:mod:`dse.workload.nests.bounds`).

        Parameters
        ----------
        source
            What the error speaks of; default: the network's name.

        Raises
        ------
        InputError
            Every layer of which something is too large, or what is too large of all together.
        """
        distinct = [self.layers[place] for place in sorted(set(self.alike))]
        wrong = [f"layer '{layer.name}': {fault}" for layer in distinct if (fault := size_fault(layer, self.batch))]
        wrong = wrong or [fault for fault in [total_fault(self.layers, self.batch)] if fault]
        if wrong:
            raise InputError(source or self.name, wrong)
        return self

    def save(self, path: str | Path) -> None:
        """Write the network as a workload file with explicit nests, which :func:`dse.load_workload` and the command line read back
        as the same network.

        Raises
        ------
        InputError
            The file cannot be written; the network does not say its source, which a file must; control characters in a name,
            which no file may have.
        """
        if not self.source:
            raise InputError(
                "network", [f"{self.name} has no source; give one, such as Network(..., source='made up')"]
            )
        texts = [self.name, self.source, *(layer.name for layer in self.layers)]
        wrong = [f"{text!r} {problem}" for text in texts if (problem := control_problem(text))]
        if wrong:
            raise InputError("network", wrong)
        name = "" if Path(path).stem == self.name else f"name: {yaml_word(self.name)}\n"
        write_text(Path(path), name + network_text(self))


def network_text(network: Network, comment: str = "") -> str:
    """A network as the text of a workload file that loads back to the same layers; its name is that of the file.

    Parameters
    ----------
    comment
        Lines for the head of the file.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [
        f"source: {yaml_word(network.source)}",
        f"batch: {network.batch}",
        f"samples: {network.samples}",
        f"epochs: {network.epochs}",
        f"optimizer: {network.optimizer}",
        *[f"accumulate: {network.accumulate}"] * (network.accumulate != 1),
        *["allow_unusual: true"] * bool(batch_problem(network.batch)),
        "nests:",
    ]
    return "\n".join([*lines, *nests_text(network.layers)]) + "\n"
