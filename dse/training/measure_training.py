"""``dse measure``: train a small network in low precision and write what happened, with profiles of what it would stand."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dse.accuracy.measuring.measure import measure
from dse.accuracy.measuring.settings import Settings
from dse.accuracy.profiles.schema import ProfileFile, profile_text
from dse.errors import InputError, Problem
from dse.files import new_folder, reason, write_files
from dse.numbers import EPOCHS, RATE, SEED, TRAINED_BATCH, problems_of
from dse.precision.plans.plan import Plan
from dse.precision.schedules.schedule import Schedule
from dse.training.loops.choosers import Adapt, Chooser, Dynasty, FracTrain, Scheduled
from dse.training.loops.data import Dataset, load_dataset
from dse.training.loops.networks import make_module, workload_of
from dse.training.loops.torch_model import TorchModel, error_scores
from dse.training.loops.train import Progress, Recipe, train
from dse.training.records import Record, mean_bits, record_files
from dse.workload.model import Network, network_text
from dse.yaml_input import suggest

#: Stretches of a run over which FracTrain averages the loss: a switch takes at least five.
STRETCHES = 36
#: Training pictures that a profile is measured on.
PROFILED = 1000
POLICIES = ("cpt", "fractrain", "adapt", "dynasty")


@dataclass(frozen=True)
class Measured:
    """What ``dse measure`` found: the trained network, its workload, the record of the run and what was asked for."""

    module: nn.Module
    network: Network
    record: Record
    asked: dict[str, Any]

    @property
    def summary(self) -> list[str]:
        """Sentences for the terminal."""
        record, bits = self.record, mean_bits(self.record.widths, self.record.iterations)
        widths = ", ".join(f"{operand} {bits[operand]:.3g}" for operand in bits)
        ended = " The loss became infinite: the run ended there." if record.diverged else ""
        return [
            f"{self.network.name}, {self.asked['what']}: test accuracy {record.accuracy:.2f} % after {record.iterations} steps "
            f"in {record.seconds:.0f} s.{ended}",
            f"Mean width in bits: {widths}.",
        ]


def measure_training(
    out: str | Path,
    recipe: Recipe,
    data: str | Path = "digits",
    *,
    plan: str | None = None,
    schedule: str | Path | None = None,
    policy: str | None = None,
    samples: int | None = None,
    profile_widths: Sequence[int] = (),
    progress: Progress | None = None,
) -> Measured:
    """Train and write a folder: the workload, accuracy, formats over time, gradients, and profiles if asked.

    Parameters
    ----------
    out
        Folder to write; it must not exist, or be empty.
    data
        See :func:`dse.training.loops.data.load_dataset`; ``samples`` of its training part.
    plan, schedule, policy
        One of them: a plan (``w4a4e8``, ``mls_e2m1`` or a file), a schedule's file, or a rule of :data:`POLICIES`.
    profile_widths
        Widths at which every layer's weight, activation and error are rounded one at a time in the trained network; none: no
        profiles.

    Raises
    ------
    InputError
        What is wrong with the data, the folder, the network's or policy's name, the plan or schedule.
    """
    folder = Path(out)
    if os.path.lexists(folder) and not _is_empty(folder):
        raise InputError(str(out), ["exists already; give a new folder"])
    if sum(given is not None for given in (plan, schedule, policy)) != 1:
        raise InputError("dse measure", ["expected one of --plan, --schedule and --policy"])
    # Layers this small run fastest on one thread, and sums then do not depend on how many there are.
    torch.set_num_threads(1)
    dataset = load_dataset(data, samples)
    _check(recipe, dataset)
    name = f"{dataset.name.replace('-', '_')}_{recipe.network}"
    module = make_module(recipe.network, dataset.shape, dataset.classes, recipe.seed)
    source = f"trained by 'dse measure' on {len(dataset.labels):,} pictures: {dataset.source}"
    network = workload_of(
        module, dataset.shape, name, source, recipe.batch, len(dataset.labels), recipe.epochs,
        "adam" if recipe.network == "transformer" else "momentum",
    )  # fmt: skip
    chooser = make_chooser(network, recipe.iterations(len(dataset.labels)), plan, schedule, policy)
    asked = {"what": str(plan or schedule or policy), "data": str(data), "samples": samples, **asdict(recipe)}
    # A folder that cannot be written is found before the training, and all files are written at its end, or none.
    with new_folder(folder):
        trained, record = train(dataset, recipe, chooser, progress)
        result = {**asked, "accuracy": record.accuracy, "diverged": record.diverged, "iterations": record.iterations}
        files = record_files(record)
        files |= {f"{name}.yaml": network_text(network), "measure.json": json.dumps(result, indent=1) + "\n"}
        if profile_widths:
            file, errors = training_profiles(trained, dataset, name, tuple(profile_widths), recipe.seed)
            lines = ["layer,bits,gradient_noise"]
            lines += [f"{layer},{bits},{noise:.6g}" for layer, row in errors.items() for bits, noise in row.items()]
            files |= {"profile.yaml": profile_text(file), "error_profile.csv": "\n".join(lines) + "\n"}
        write_files({folder / file_name: text for file_name, text in files.items()})
    return Measured(trained, network, record, asked)


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError as error:
        raise InputError(str(folder), [f"cannot be written: {reason(error)}"]) from None


def make_chooser(
    network: Network, iterations: int, plan: str | None, schedule: str | Path | None, policy: str | None
) -> Chooser:
    """Who decides the formats of a run of some iterations.

    Raises
    ------
    InputError
        An unknown policy, a schedule of another length, formats that are not trained with.
    """
    names = [layer.name for layer in network.mac_layers]
    if plan is not None:
        return Scheduled(Schedule("static", Schedule.static(Plan.parse(plan, network), iterations).phases), network)
    if schedule is not None:
        given = Schedule.load(schedule)
        if given.iterations != iterations:
            raise InputError(
                str(schedule), [f"is of {given.iterations} iterations; the run has {iterations}: change one of them"]
            )
        return Scheduled(given, network)
    if policy == "cpt":
        return Scheduled(Schedule.cyclic(3, 8, 8, min(8, iterations), iterations), network)
    if policy == "fractrain":
        return FracTrain(names, max(1, iterations // STRETCHES))
    if policy in ("adapt", "dynasty"):
        return Adapt(names) if policy == "adapt" else Dynasty(names)
    raise InputError("dse measure", [f"unknown policy '{policy}'{suggest(str(policy), POLICIES)}"])


def training_profiles(
    module: nn.Module, data: Dataset, name: str, widths: tuple[int, ...], seed: int
) -> tuple[ProfileFile, dict[str, dict[int, float]]]:
    """Sensitivities of a trained network: weights and activations as a profile, errors as noise in the weight gradients.

    Returns
    -------
    The profile (noise of the tensors on training pictures, no whole-network points: calibrate it with trained plans), and by layer
    and width what :func:`dse.training.loops.torch_model.error_scores` says.
    """
    some = np.linspace(0, len(data.labels) - 1, min(PROFILED, len(data.labels))).round().astype(int)
    images: NDArray[np.float32] = data.images[some]
    asked = Settings(widths, widths, "tensor", 0, seed)
    file = measure(TorchModel(module, name), images, data.labels[some], asked)
    return file, error_scores(module, images[::4], data.labels[some][::4], widths)


def _check(recipe: Recipe, data: Dataset) -> None:
    problems = []
    given = [(EPOCHS, recipe.epochs), (TRAINED_BATCH, recipe.batch), (RATE, recipe.rate), (SEED, recipe.seed)]
    problems += problems_of(given)
    if not problems and len(data.labels) < recipe.batch:
        message = f"has {len(data.labels)} pictures to train on, fewer than a batch of {recipe.batch}"
        problems.append(Problem("", message))
    if problems:
        raise InputError("dse measure", problems)
