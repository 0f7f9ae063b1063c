"""Trains a small ResNet-18 in block floating point whose widths follow block sensitivity, and writes what the blocks took.

    python benchmarks/measure_blocks.py DATA_FOLDER OUT.csv --thresholds 0 16 64 256 1024 --epochs 2

DATA_FOLDER holds Fashion-MNIST (Debian package dataset-fashion-mnist: four idx files, .gz or not). PyTorch is needed, which the
package is not. The network has torchvision's topology with a quarter of the channels and a 3x3 stem of stride 2; layers have
torchvision's names. Weights, activations and errors that enter a convolution are rounded in blocks of 4 channels x 4
neighbours with a shared exponent; each block takes the fewest of 2, 4, 6, 8 bits whose sensitivity is at most THRESHOLD times
the tensor's mean at 8 bits (dse.precision.policies.blocks). Squared gradients of weights and activations are moving averages of
earlier steps, by position and over the batch; an error counts with slope 1, since weight gradients are linear in it. Threshold
0: 8 bits in every block; -1: float32.
"""

import argparse
import csv
import gzip
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WIDTHS = (2, 4, 6, 8)
MOMENTUM = 0.9


def idx(folder: Path, name: str) -> np.ndarray:
    path = next(path for path in sorted(folder.rglob(f"{name}*")) if path.is_file())
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    rank = data[3]
    shape = [int.from_bytes(data[4 + 4 * k : 8 + 4 * k], "big") for k in range(rank)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def blocks(x: torch.Tensor) -> torch.Tensor:
    """(N, C, M) padded and cut into (N, C/4, 4, M/4, 4)."""
    n, c, m = x.shape
    x = functional.pad(x, (0, -m % 4, 0, -c % 4))
    return x.view(n, -(-c // 4), 4, -(-m // 4), 4)


def rounded(x: torch.Tensor, slopes: torch.Tensor | None, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Block-rounded tensor (same shape) and the widths of its blocks; slopes: squared gradients by block, or None for 1."""
    shape = x.shape
    flat = x.reshape(shape[0], shape[1], -1)
    n, c, m = flat.shape
    cut = blocks(flat)
    largest = cut.abs().amax(dim=(2, 4), keepdim=True)
    exponent = torch.frexp(largest)[1].to(x.dtype)
    fine = torch.exp2(2.0 * (exponent - 7.0)) / 12.0 * (16.0 if slopes is None else slopes)
    fine = torch.where(largest > 0, fine, torch.zeros_like(fine))
    if threshold <= 0:
        width = torch.full_like(fine, WIDTHS[-1])
    else:
        # One bit less is four times the sensitivity.
        spare = 0.5 * torch.log2(threshold * fine.mean() / fine.clamp_min(1e-38))
        width = WIDTHS[-1] - torch.div(spare.clamp(0.0, WIDTHS[-1] - WIDTHS[0]), 2.0, rounding_mode="floor") * 2.0
    step = torch.exp2(exponent - width + 1.0)
    top = torch.exp2(width - 1.0) - 1.0
    out = (cut / step).round().clamp(-top, top) * step
    out = out.reshape(n, out.shape[1] * 4, -1)[:, :c, :m].reshape(shape)
    return out, width


class Rounded(torch.autograd.Function):
    """Rounds a tensor forward; its gradient passes, and its squares are kept for the next step's sensitivities."""

    @staticmethod
    def forward(ctx, x, layer, operand):
        ctx.layer, ctx.operand = layer, operand
        out, width = rounded(x, layer.squares.get(operand), layer.threshold)
        layer.note(operand, width)
        return out

    @staticmethod
    def backward(ctx, gradient):
        flat = gradient.reshape(gradient.shape[0], gradient.shape[1], -1)
        found = blocks(flat).pow(2).sum(dim=(2, 4), keepdim=True)
        if ctx.operand == "activation":
            found = found.mean(dim=0, keepdim=True)
        old = ctx.layer.squares.get(ctx.operand)
        ctx.layer.squares[ctx.operand] = found if old is None else MOMENTUM * old + (1 - MOMENTUM) * found
        return gradient, None, None


class RoundedError(torch.autograd.Function):
    """Passes forward; rounds the gradient."""

    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer = layer
        return x

    @staticmethod
    def backward(ctx, gradient):
        out, width = rounded(gradient, None, ctx.layer.threshold)
        ctx.layer.note("error", width)
        return out, None


class Conv(nn.Conv2d):
    """A convolution whose three operands are rounded in blocks."""

    threshold, noting = -1.0, False

    def forward(self, x):
        if self.threshold < 0:
            return super().forward(x)
        if not hasattr(self, "squares"):
            self.squares, self.counts = {}, {}
        # A weight is cut as a matrix of outputs by (input, tap), an activation as channels by positions.
        k = self.weight.shape[0]
        weight = Rounded.apply(self.weight.view(1, k, -1), self, "weight").view_as(self.weight)
        y = functional.conv2d(Rounded.apply(x, self, "activation"), weight, None, self.stride, self.padding)
        return RoundedError.apply(y, self)

    def note(self, operand, width):
        if Conv.noting:
            found = torch.stack([(width == bits).sum() for bits in WIDTHS]).double()
            self.counts[operand] = self.counts.get(operand, 0) + found / found.sum()


def conv(a, b, size, stride):
    return Conv(a, b, size, stride, size // 2, bias=False)


class Basic(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(a, b, 3, stride), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = conv(b, b, 3, 1), nn.BatchNorm2d(b)
        self.downsample = nn.Sequential(conv(a, b, 1, stride), nn.BatchNorm2d(b)) if stride > 1 else None

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = conv(1, width, 3, 2), nn.BatchNorm2d(width)
        at = width
        for stage in range(4):
            out = width << stage
            pair = [Basic(at, out, 2 if stage else 1), Basic(out, out, 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*pair))
            at = out
        self.fc = nn.Linear(at, 10)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean(dim=(2, 3)))


def train(threshold, data, epochs, seed, width, batch=128, rate=0.1):
    (x, y), (test_x, test_y) = data
    torch.manual_seed(seed)
    net = ResNet18(width)
    for module in net.modules():
        if isinstance(module, Conv):
            module.threshold = threshold
    # The first convolution stays at 8 bits, as first layers do in published low-precision training.
    net.conv1.threshold = min(threshold, 0.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    steps = epochs * (len(x) // batch)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    start, step = time.time(), 0
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for at in range(0, len(x) - batch + 1, batch):
            chosen = order[at : at + batch]
            # Every twentieth step is looked at, from the second on: the first has no averages yet.
            Conv.noting = step % 20 == 19
            optimizer.zero_grad()
            functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimizer.step()
            plan.step()
            step += 1
    Conv.noting = False
    net.eval()
    with torch.no_grad():
        hits = sum(
            (net(test_x[k : k + 500]).argmax(1) == test_y[k : k + 500]).sum().item() for k in range(0, len(test_x), 500)
        )
    accuracy = 100.0 * hits / len(test_x)
    print(f"threshold {threshold:g} seed {seed}: {accuracy:.2f} % in {time.time() - start:.0f} s", flush=True)
    shares = {
        (name, operand): (found / found.sum()).tolist()
        for name, module in net.named_modules()
        if isinstance(module, Conv) and threshold >= 0
        for operand, found in module.counts.items()
    }
    return accuracy, shares


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[-1, 0, 16, 64, 256, 1024])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--samples", type=int, default=60_000)
    options = parser.parse_args()
    data = []
    for part, samples in (("train", options.samples), ("t10k", 10_000)):
        images = torch.from_numpy(idx(options.data, f"{part}-images-idx3")[:samples].astype(np.float32) / 255.0)
        labels = torch.from_numpy(idx(options.data, f"{part}-labels-idx1")[:samples].astype(np.int64))
        data.append((((images - 0.286) / 0.353).unsqueeze(1), labels))
    with options.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["threshold", "seed", "accuracy_pct", "layer", "operand", *(f"bits{bits}" for bits in WIDTHS)])
        for threshold in options.thresholds:
            for seed in options.seeds:
                accuracy, shares = train(threshold, data, options.epochs, seed, options.width)
                for (layer, operand), row in shares.items() or [(("", ""), [0.0] * 4)]:
                    writer.writerow(
                        [f"{threshold:g}", seed, f"{accuracy:.2f}", layer, operand, *(f"{share:.4f}" for share in row)]
                    )
                file.flush()


if __name__ == "__main__":
    main()
