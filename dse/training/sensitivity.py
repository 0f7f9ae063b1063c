"""``dse.sensitivity``: what rounding each weight, activation and error tensor of any torch module costs, on its own loss."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from dse.accuracy.calibrate import calibrate_file, plans_to_measure
from dse.accuracy.measuring.journal import Notebook, Progress
from dse.accuracy.profiles.loading import profile_from_file
from dse.accuracy.profiles.schema import (
    MIN_POINTS,
    ErrorTensorFile,
    Operand,
    PointFile,
    PredictionFile,
    ProfileFile,
    profile_text,
)
from dse.errors import InputError
from dse.files import remove_file, write_text
from dse.precision.formats.properties import Format, format_problem, parse_format
from dse.training.prepare import Prepared, prepare
from dse.yaml_input import Document, suggest

#: (outputs, targets) -> mean loss over the samples, a scalar.
Loss: TypeAlias = Callable[[Any, Any], Tensor]
SCORES = {
    "gradient": "squared change of the gradients of all parameters over their square, mean over batches",
    "loss": "increase of the mean loss, nat, at least 0",
}
_OPERANDS: tuple[Operand, ...] = ("weight", "activation")


@dataclass(frozen=True)
class Measurement:
    """A module, its data, and what is asked.

    Attributes
    ----------
    formats
        By width in bits.
    batch
        Samples per run of the module.
    """

    module: nn.Module
    inputs: Tensor
    targets: Tensor
    loss: Loss
    formats: dict[int, Format]
    batch: int

    def batches(self, samples: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of some samples."""
        for part in samples.split(self.batch):
            yield self.inputs[part], self.targets[part]

    def mean_loss(self, samples: Tensor) -> float:
        """Mean loss with the formats that the module has now."""
        self.module.eval()
        total = 0.0
        with torch.no_grad():
            for x, y in self.batches(samples):
                total += float(self.loss(self.module(x), y)) * len(x)
        return total / len(samples)

    def gradients(self, samples: Tensor) -> list[list[Tensor]]:
        """By batch, gradients of all parameters that the loss depends on."""
        self.module.eval()
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        found = []
        for x, y in self.batches(samples):
            made = torch.autograd.grad(self.loss(self.module(x), y), parameters, allow_unused=True)
            found.append([gradient for gradient in made if gradient is not None])
        return found


def sensitivity(
    module: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss,
    formats: Sequence[str] = ("int4", "int6", "int8"),
    *,
    score: str = "gradient",
    plans: int = 12,
    steps: int = 50,
    rate: float = 0.01,
    batch: int = 64,
    seed: int = 0,
    network: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> ProfileFile:
    """Measure a profile of a module on its own data and loss; ``dse explore --profile`` takes it.

    One tensor is rounded at a time, to nearest, the rest in full precision, and forward and backward are run. Whole plans are
    measured on the other half of the samples without retraining, to fit the predictor. The error tensor's part is measured in
    training: copies of the module are trained on with all errors at one width.

    Parameters
    ----------
    module
        Left as it is. Layers have the names of ``dse.trace(module, inputs)``.
    inputs, targets
        Samples along the first axis.
    loss
        Of outputs and targets: mean over the samples, nat.
    formats
        To measure, of different widths, such as ``int4``, ``int8`` or ``nvfp4``, ``mxfp8_e4m3``.
    score
        One of :data:`SCORES` for weights and activations. Scores of errors, which change no output, are of gradients.
    plans
        Whole plans to measure; 0: none, and no predictor.
    steps, rate
        Steps of stochastic gradient descent with a momentum of 0.9, and their learning rate, to measure errors in training with;
        0 steps: the profile says nothing of errors, and explore takes a narrow one for unknown.
    network
        Name of the workload; default: the class of the module.
    out
        File to write the profile to; an interrupted measurement goes on from it + ``.part``.

    Raises
    ------
    InputError
        Data or settings that do not fit, a loss that is not finite, or a file that exists.
    """
    _check(inputs, targets, formats, score, plans, steps, batch)
    target = None if out is None else Path(out)
    if target is not None and target.exists():
        raise InputError(str(out), ["exists already; delete it or write to another file"])
    known = {parse_format(name).element_bits: parse_format(name) for name in formats}
    name = network or type(module).__name__
    was_training = module.training
    prepared = prepare(module, inputs[:batch], "fp32", stochastic=())
    try:
        asked = Measurement(module, inputs, targets, loss, dict(sorted(known.items())), batch)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(inputs)))
        half = len(inputs) // 2
        seen, unseen = order[:half].sort().values, order[half:].sort().values
        journal = None if target is None else target.with_name(f"{target.name}.part")
        total = len(prepared.controls) * 3 * len(known) + plans + (1 + len(known)) * bool(steps)
        settings = f"{score} {plans} {steps} {rate} {batch} {seed} {sorted(formats)}"
        notebook = Notebook(journal, _digest(asked, settings), total, progress)
        file = _scores(prepared, asked, seen, score, name, notebook)
        if plans:
            file = _calibrated(file, prepared, asked, unseen, plans, seed, notebook)
        if steps:
            file = file.model_copy(
                update={"error_tensor": _errors(prepared, asked, seen, unseen, steps, rate, notebook)}
            )
    finally:
        prepared.restore()
        module.train(was_training)
    if target is not None and journal is not None:
        write_text(target, profile_text(file))
        remove_file(journal)
    return file


def _scores(
    prepared: Prepared, asked: Measurement, samples: Tensor, score: str, network: str, notebook: Notebook
) -> ProfileFile:
    base, exact = asked.mean_loss(samples), asked.gradients(samples)
    if not np.isfinite(base):
        raise InputError("dse.sensitivity", ["the loss is not finite in full precision: nothing can be measured"])
    norms = [sum(float(g.double().square().sum()) for g in batch) for batch in exact]
    if not all(norms):
        raise InputError("dse.sensitivity", ["all gradients of a batch are 0: nothing can be measured"])

    def gradient_noise() -> float:
        changes = [
            sum(float((a - b).double().square().sum()) for a, b in zip(found, wanted, strict=True)) / norm
            for found, wanted, norm in zip(asked.gradients(samples), exact, norms, strict=True)
        ]
        return float(np.mean(changes))

    tables: dict[str, dict[str, dict[int, float]]] = {}
    for layer, control in prepared.controls.items():
        tables[layer] = {"weight": {}, "activation": {}, "error": {}}
        for operand, table in tables[layer].items():
            for width, form in asked.formats.items():

                def measured(control: Any = control, operand: str = operand, form: Format = form) -> float:
                    setattr(control, operand, form)
                    try:
                        if operand == "error" or score == "gradient":
                            return gradient_noise()
                        return max(0.0, asked.mean_loss(samples) - base)
                    finally:
                        control.take(None, None, None)

                table[width] = notebook.value(f"{layer} {operand} {width}", measured)
    rounded = ", ".join(f"{width} bits: {form.name}" for width, form in asked.formats.items())
    notes = [f"Formats by width: {rounded}; rounded to nearest, nothing retrained."]
    if prepared.unwrapped:
        outside = ", ".join(f"{name} ({share:.1%} of MACs)" for name, share in prepared.unwrapped.items())
        notes.append(f"In full precision, since torch runs them out of sight: {outside}.")
    return ProfileFile(
        network=network,
        source=f"measured by dse.sensitivity on {len(samples)} samples",
        method="fake quantization of one tensor at a time, forward and backward, the rest in full precision",
        score=SCORES[score],
        notes=notes,
        prediction=PredictionFile(
            quantity="loss", baseline=base, baseline_name="the full-precision module", calibration="post-training"
        ),
        layers={layer: {operand: table[operand] for operand in _OPERANDS} for layer, table in tables.items()},
        error_scores={layer: table["error"] for layer, table in tables.items()},
    )


def _calibrated(
    file: ProfileFile,
    prepared: Prepared,
    asked: Measurement,
    samples: Tensor,
    plans: int,
    seed: int,
    notebook: Notebook,
) -> ProfileFile:
    """With the loss of whole plans on samples that were not seen, and the predictor fitted to them."""
    document = Document(f"profile of {file.network}", {}, {(): 1})
    profile = profile_from_file(file, document)
    maps = plans_to_measure(profile, list(asked.formats), plans, seed)
    baseline = asked.mean_loss(samples)
    points = []
    for index in range(plans):
        bits = {operand: [int(width) for width in table[index]] for operand, table in maps.items()}

        def measured(bits: dict[str, list[int]] = bits) -> float:
            for place, control in enumerate(prepared.controls.values()):
                weight, activation = (asked.formats[bits[operand][place]] for operand in _OPERANDS)
                control.take(weight, activation, None)
            try:
                return asked.mean_loss(samples)
            finally:
                for control in prepared.controls.values():
                    control.take(None, None, None)

        value = notebook.value(f"plan {index}", measured)
        points.append(
            PointFile(name=f"plan{index:03d}", value=value, weight=bits["weight"], activation=bits["activation"])
        )
    counted = file.prediction.model_copy(update={"baseline": baseline})
    return calibrate_file(file.model_copy(update={"prediction": counted}), document, points).file


def _errors(
    prepared: Prepared, asked: Measurement, seen: Tensor, unseen: Tensor, steps: int, rate: float, notebook: Notebook
) -> ErrorTensorFile:
    """Loss on samples that were not seen, of copies that were trained on with all errors at one width."""

    def trained(form: Format | None) -> float:
        twin = copy.deepcopy(prepared.module)
        other = _twin_of(prepared, twin)
        for control in other.values():
            control.take(None, None, form)
            control.stochastic = frozenset({"error"})
            control.generator.manual_seed(0)
        optimizer = torch.optim.SGD(twin.parameters(), lr=rate, momentum=0.9)
        own = Measurement(twin, asked.inputs, asked.targets, asked.loss, asked.formats, asked.batch)
        twin.train()
        done = 0
        while done < steps:
            for x, y in own.batches(seen):
                optimizer.zero_grad()
                own.loss(twin(x), y).backward()
                optimizer.step()
                done += 1
                if done == steps:
                    break
        value = own.mean_loss(unseen)
        if not np.isfinite(value):
            raise InputError("dse.sensitivity", [f"the loss is not finite after {steps} steps; take a smaller rate"])
        return value

    baseline = notebook.value("errors exact", lambda: trained(None))
    found = {}
    for width, form in asked.formats.items():
        # A narrow error that happens to end lower is no gain.
        found[width] = max(baseline, notebook.value(f"errors {width}", lambda form=form: trained(form)))  # type: ignore[misc]
    return ErrorTensorFile(
        source=f"this module, trained on for {steps} steps at a rate of {rate:g}, all errors at one width and stochastic",
        note="the loss after a short stretch of training, on samples that it did not see; one run each",
        baseline=baseline,
        baseline_name="the same steps with errors in full precision",
        widths=found,
    )


def _twin_of(prepared: Prepared, twin: nn.Module) -> dict[str, Any]:
    """Controls of a deep copy of a prepared module."""
    for hook in twin._state_dict_hooks.values():
        owner = getattr(getattr(hook, "func", None), "__self__", None)
        if isinstance(owner, Prepared):
            return dict(owner.controls)
    raise AssertionError(f"the copy of {type(prepared.module).__name__} is not prepared")


def _digest(asked: Measurement, settings: str) -> str:
    hashed = hashlib.sha256(settings.encode())
    for key, value in asked.module.state_dict().items():
        if not key.startswith("dse_prepared"):
            hashed.update(key.encode() + value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    for tensor in (asked.inputs, asked.targets):
        hashed.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def _check(
    inputs: Tensor, targets: Tensor, formats: Sequence[str], score: str, plans: int, steps: int, batch: int
) -> None:
    problems = [message for name in formats if (message := format_problem(name))]
    if not problems:
        widths = [parse_format(name).element_bits for name in formats]
        if len(set(widths)) < len(widths) or not widths:
            problems.append(f"expected formats of different widths, at least one, got {', '.join(formats)}")
        if plans and (len(set(widths)) < 2 or plans < max(MIN_POINTS, len(widths))):
            problems.append(
                f"plans need two widths and at least {MIN_POINTS} plans, one per width; got {plans} of {len(widths)}"
            )
    if score not in SCORES:
        problems.append(f"unknown score '{score}'{suggest(score, SCORES)}")
    if len(inputs) != len(targets) or len(inputs) < 4:
        problems.append(f"expected four or more samples with a target each, got {len(inputs)} and {len(targets)}")
    problems += [
        f"expected {what} >= 0, got {value}" for what, value in (("plans", plans), ("steps", steps)) if value < 0
    ]
    problems += [] if batch >= 1 else [f"expected a batch >= 1, got {batch}"]
    if problems:
        raise InputError("dse.sensitivity", problems)
