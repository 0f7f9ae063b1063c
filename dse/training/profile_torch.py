"""``dse profile`` for torch networks, as a Python function: there is no file format that says how to run one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dse.accuracy.measuring.journal import Progress
from dse.accuracy.measuring.measure import measure
from dse.accuracy.measuring.settings import Images, Settings
from dse.accuracy.profiles.schema import ProfileFile, profile_text
from dse.errors import InputError
from dse.files import remove_file, write_text
from dse.training.loops.torch_model import TorchModel
from dse.types import Ints


def profile_torch(
    module: nn.Module,
    images: Images | torch.Tensor,
    labels: Ints | torch.Tensor | None,
    out: str | Path,
    network: str,
    settings: Settings | None = None,
    *,
    per_channel: bool = True,
    family: str = "int",
    progress: Progress | None = None,
) -> ProfileFile:
    """Measure a torch network and write its profile; an interrupted measurement goes on from ``out`` + ``.part``.

    Parameters
    ----------
    module
        Maps (n, ...) images to (n, classes) outputs before the softmax; its layers have the names of the workload's.
    images, labels
        As :func:`dse.accuracy.measuring.measure.measure` takes them; arrays, or tensors on any device.
    out
        Profile file to write; a finished one is not overwritten.
    network
        Name of the workload.
    per_channel, family
        Weights in ``family`` formats with a scale per output channel (``int`` only), activations with one per tensor.

    Raises
    ------
    InputError
        No layer that can be quantized, data or settings that do not fit, a file that exists.
    """
    target = Path(out)
    if target.exists():
        raise InputError(str(out), ["exists already; delete it or write to another file"])
    model = TorchModel(module, network, f"{family}:channel" if per_channel and family == "int" else family, family)
    journal = target.with_name(f"{target.name}.part")
    classes = None if labels is None else host_array(labels)
    file = measure(model, host_array(images), classes, settings or Settings(), journal, progress)
    write_text(target, profile_text(file))
    remove_file(journal)
    return file


def host_array(given: NDArray[Any] | torch.Tensor) -> NDArray[Any]:
    """Data as an array on the host; floats in the 32 bits that models take, integers (tokens, classes) as they are."""
    if isinstance(given, torch.Tensor):
        # Numpy knows no bfloat16.
        given = (given.float() if given.is_floating_point() else given).detach().cpu().numpy()
    array = np.asarray(given)
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
