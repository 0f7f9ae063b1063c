"""Train a small network with rounded weights, activations and errors on float32 master weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dse.training.loops.choosers import Cells, Chooser, width_rows
from dse.training.loops.data import Dataset
from dse.training.loops.networks import make_module
from dse.training.records import Epoch, Gradient, Record, Width
from dse.training.rounded.layers import MacLayer, mac_layers, store

#: Told after every epoch: the epoch, and the seconds that the rest will take.
Progress = Callable[[Epoch, float], None]
#: Samples of a batch while testing.
_TEST_BATCH = 500


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    network
        One of :data:`dse.training.loops.networks.NETWORKS`.
    epochs, batch
        Length of the run; the last samples of an epoch that fill no batch are left out.
    rate
        Largest learning rate; it falls to zero along half a cosine. Momentum 0.9 (transformer: Adam).
    decay
        Weight decay.
    seed
        Of the first weights, the order of samples and stochastic rounding.
    stochastic
        Operands that are rounded stochastically.
    statistics
        Iterations between two rows of gradient statistics; 0: none.
    test_every
        Epochs between two tests; the last epoch is always tested, the accuracy of the others is NaN.
    """

    network: str = "cnn"
    epochs: int = 4
    batch: int = 64
    rate: float = 0.1
    decay: float = 5e-4
    seed: int = 0
    stochastic: tuple[str, ...] = ("error",)
    statistics: int = 50
    test_every: int = 1

    def iterations(self, samples: int) -> int:
        """Steps of the whole run."""
        return self.epochs * (samples // self.batch)


def train(
    data: Dataset, recipe: Recipe, chooser: Chooser, progress: Progress | None = None
) -> tuple[nn.Module, Record]:
    """Train a network and record what happened; the same recipe and chooser give the same run on the same machine.

    Returns
    -------
    The trained network, with the last formats in its layers, and the record. If the loss becomes infinite or NaN the run ends
    there, and its last epoch has the accuracy of what there was.
    """
    torch.use_deterministic_algorithms(True)
    module = make_module(recipe.network, data.shape, data.classes, recipe.seed)
    layers = mac_layers(module)
    generator = torch.Generator().manual_seed(recipe.seed)
    for layer in layers.values():
        layer.control.generator, layer.control.stochastic = generator, frozenset(recipe.stochastic)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    order = np.random.default_rng(recipe.seed)
    steps = len(labels) // recipe.batch
    optimizer = _optimizer(module, recipe)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, recipe.epochs * steps))
    epochs: list[Epoch] = []
    widths: list[Width] = []
    gradients: list[Gradient] = []
    start, iteration, diverged = time.monotonic(), 0, False
    for epoch in range(1, recipe.epochs + 1):
        module.train()
        losses = []
        shuffled = torch.from_numpy(order.permutation(len(labels)))
        for step in range(steps):
            changes = chooser.before(iteration)
            if changes is not None:
                _apply(changes, layers)
                widths += width_rows(iteration, changes, list(layers))
            stated = bool(recipe.statistics) and iteration % recipe.statistics == 0
            watched = stated or chooser.watches(iteration)
            for layer in layers.values():
                layer.control.watch = watched
            chosen = shuffled[step * recipe.batch : (step + 1) * recipe.batch]
            loss = functional.cross_entropy(module(images[chosen]), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            value = float(loss.detach())
            losses.append(value)
            diverged = not np.isfinite(value)
            if diverged:
                break
            chooser.after(iteration, value, layers)
            if stated:
                gradients += [_statistics(iteration, name, layer) for name, layer in layers.items()]
            optimizer.step()
            rates.step()
            iteration += 1
        for layer in layers.values():
            layer.control.watch = False
            layer.control.seen.clear()
        tested = diverged or epoch == recipe.epochs or epoch % recipe.test_every == 0
        accuracy = accuracy_of(module, data) if tested else float("nan")
        epochs.append(Epoch(epoch, iteration, float(np.mean(losses)), accuracy))
        if progress is not None:
            progress(epochs[-1], (time.monotonic() - start) / epoch * (recipe.epochs - epoch))
        if diverged:
            break
    record = Record(
        tuple(epochs), tuple(widths), tuple(gradients), iteration, diverged, round(time.monotonic() - start, 2)
    )
    return module, record


def accuracy_of(module: nn.Module, data: Dataset) -> float:
    """Share of test samples that are classified right, %, with the formats that the layers have now."""
    outputs = outputs_of(module, data.test_images)
    return float(100.0 * (outputs.argmax(dim=1).numpy() == data.test_labels).mean())


def outputs_of(module: nn.Module, images: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
    """(n, classes) outputs before the softmax, in evaluation mode."""
    module.eval()
    with torch.no_grad():
        return torch.cat([module(part) for part in torch.from_numpy(images).split(_TEST_BATCH)])


def _optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.network == "transformer":
        return torch.optim.Adam(module.parameters(), lr=recipe.rate / 50.0)
    return torch.optim.SGD(module.parameters(), lr=recipe.rate, momentum=0.9, weight_decay=recipe.decay)


def _apply(changes: Mapping[str, Cells], layers: Mapping[str, MacLayer]) -> None:
    for name, cells in changes.items():
        if name in layers:
            layers[name].control.take(*cells)


def _statistics(iteration: int, name: str, layer: MacLayer) -> Gradient:
    weight = getattr(layer, "weight", None)
    norm = float(weight.grad.norm()) if isinstance(weight, Tensor) and weight.grad is not None else 0.0
    error = layer.control.seen.get("error")
    if error is None:
        return Gradient(iteration, name, norm, 0.0, 0.0, 0.0, 0.0)
    stored = store(error, layer.control.error, "error", layer.control.pictures)
    power = float((error**2).mean())
    live = error != 0.0
    count = max(int(live.sum()), 1)
    return Gradient(
        iteration,
        name,
        norm,
        power**0.5,
        float(error.abs().amax()) / power**0.5 if power else 0.0,
        int((live & (stored == 0.0)).sum()) / count,
        float(((stored - error) ** 2).mean()) / power if power else 0.0,
    )
