"""A network: its layers as loop bounds, and what its training needs to know."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dse.workload.layer import DIMS, FUNCTIONS, GATES, MAC_KINDS, PASSES, VECTOR_KINDS, Folded, Layer, Mask

__all__ = [
    "DIMS", "FUNCTIONS", "GATES", "MAC_KINDS", "OPTIMIZERS", "PASSES", "VECTOR_KINDS", "Folded", "Layer", "Mask", "Network",
]  # fmt: skip

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")


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

    @property
    def mac_layers(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.has_macs)

    @property
    def vector_layers(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if not layer.has_macs)

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
        """The same network at another batch size."""
        return replace(self, batch=batch)
