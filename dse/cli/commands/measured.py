"""``dse profile``, ``calibrate`` and ``measure``: accuracy from real models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dse.cli.options import Channels, Images, Skip, app, measuring, numbers
from dse.cli.terminal import console, say
from dse.errors import InputError

if TYPE_CHECKING:
    pass


@app.command(epilog="Example: dse profile model.onnx --data photos.npz -o profile.yaml --network imagenet_resnet")
def profile(
    model: Annotated[
        Path,
        typer.Argument(
            help="An ONNX model with its weights, or script.py:make that returns (torch module, inputs, targets, loss)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The profile to write; FILE.part keeps what is measured.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Of an ONNX model: images as .npz or .npy, or a folder of MNIST-style idx files."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Classes of the images, .npy or idx; then top-1 is predicted.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="Name of the workload; default: the model file's.")] = None,
    weight_widths: Annotated[str, typer.Option(help="Widths of weights, bits.")] = "3,4,6,8",
    activation_widths: Annotated[str, typer.Option(help="Widths of activations, bits.")] = "3,4,6,8",
    score: Annotated[
        str | None,
        typer.Option(
            help="kl (default), loss (needs labels), noise (of the outputs) or tensor (1/SQNR of it alone); "
            "of a script gradient (default) or loss."
        ),
    ] = None,
    formats: Annotated[str, typer.Option(help="Of a script: formats of different widths.")] = "int4,int6,int8",
    steps: Annotated[int, typer.Option(help="Of a script: steps to train with narrow errors; 0: none.")] = 50,
    plans: Annotated[int, typer.Option(help="Whole plans to calibrate with, on other images; 0: none.")] = 24,
    pairs: Annotated[int, typer.Option(help="Pairs of tensors to measure together: how well scores add.")] = 0,
    images: Images = 128,
    seed: Annotated[int, typer.Option(help="Decides which plans and images are taken.")] = 0,
    per_tensor: Channels = False,
    skip_unsupported: Skip = False,
) -> None:
    """Measure how much every layer suffers at every width.

    Writes a sensitivity profile for dse explore.
    """
    from dse.accuracy.measuring.profile_model import profile_onnx
    from dse.accuracy.measuring.settings import settings
    from dse.accuracy.profiles.summary import profile_summary
    from dse.training.loops.script import is_script

    if is_script(str(model)):
        _profile_script(str(model), formats, score or "gradient", plans, steps, seed, network, out)
        return
    if data is None:
        raise InputError("dse profile", ["an ONNX model needs --data: images to measure it on"])
    asked = settings(weight_widths, activation_widths, score or "kl", plans, seed, pairs)
    with measuring("measuring") as progress:
        file = profile_onnx(
            model, data, out, asked, labels=labels, images=images, per_channel=not per_tensor,
            skip_unsupported=skip_unsupported, network=network, progress=progress,
        )  # fmt: skip
    say("\n".join([*profile_summary(file, str(out)), f"profile: {out}"]))


def _profile_script(
    script: str, formats: str, score: str, plans: int, steps: int, seed: int, network: str | None, out: Path
) -> None:
    """``dse profile script.py:make``: a torch module on its own loss."""
    from dse.accuracy.profiles.summary import profile_summary
    from dse.training import require_torch

    require_torch("dse profile")
    from dse.training.loops.script import made_by
    from dse.training.sensitivity import sensitivity

    module, inputs, targets, loss = made_by(script)
    names = tuple(name.strip() for name in formats.split(","))
    with measuring("measuring") as progress:
        file = sensitivity(
            module, inputs, targets, loss, names, score=score, plans=plans, steps=steps, seed=seed, network=network, out=out,
            progress=progress,
        )  # fmt: skip
    say("\n".join([*profile_summary(file, str(out)), f"profile: {out}"]))


@app.command(epilog="Example: dse calibrate profile.yaml --points accuracies.csv -o calibrated.yaml")
def calibrate(
    profile: Annotated[str, typer.Argument(help="A profile file, or the name of a shipped one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The calibrated profile to write.")],
    points: Annotated[Path | None, typer.Option(help="Measured whole plans, CSV or YAML.")] = None,
    workload: Annotated[str | None, typer.Option(help="The workload whose layers the plans of --points name.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="post-training or quantization-aware; default: the profile's.")
    ] = None,
    baseline: Annotated[
        float | None, typer.Option(help="Value without quantization in the runs of --points; default: the profile's.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Instead of --points: measure plans of this ONNX model.")] = None,
    data: Annotated[Path | None, typer.Option(help="With --model: images.")] = None,
    labels: Annotated[Path | None, typer.Option(help="With --model: classes of the images.")] = None,
    plans: Annotated[int, typer.Option(help="With --model: plans to measure.")] = 24,
    images: Annotated[int, typer.Option(help="With --model: images to measure on.")] = 128,
    seed: Annotated[int, typer.Option(help="With --model: decides which plans are measured.")] = 0,
    per_tensor: Channels = False,
    skip_unsupported: Skip = False,
) -> None:
    """Fit a profile's predictor to measured whole plans.

    All links side by side, chosen by leave-one-out error.
    """
    from dse.accuracy.measuring.profile_model import calibrate_onnx, calibrate_points, calibration_kind
    from dse.accuracy.profiles.summary import links_table, profile_summary

    if (points is None) == (model is None or data is None):
        raise InputError("dse calibrate", ["needs --points, or --model with --data"])
    if points is not None:
        found = calibrate_points(profile, points, out, calibration_kind(kind), workload, baseline)
    else:
        with measuring("measuring plans") as progress:
            found = calibrate_onnx(
                profile, str(model), str(data), out, plans=plans, seed=seed, labels=labels, images=images,
                per_channel=not per_tensor, skip_unsupported=skip_unsupported, progress=progress,
            )  # fmt: skip
    console().print(links_table(found.links, found.profile.link, found.profile.unit))
    say("\n".join([*profile_summary(found.file, str(out)), f"profile: {out}"]))


@app.command(epilog="Example: dse measure cnn --data digits --plan w4a4e8 -o reports/measured")
def measure(
    network: Annotated[str, typer.Argument(help="cnn, resnet or transformer.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder for what is measured.")],
    data: Annotated[
        str, typer.Option(help="digits, or a folder of MNIST-style idx files or CIFAR binaries.")
    ] = "digits",
    plan: Annotated[str | None, typer.Option(help="Formats throughout: w4a4e8, mls_e2m1, a plan's YAML.")] = None,
    schedule: Annotated[Path | None, typer.Option(help="Instead of --plan: a schedule, YAML.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Instead of --plan: a rule, cpt, fractrain, adapt or dynasty.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 4,
    batch: Annotated[int, typer.Option(help="Samples per step.")] = 64,
    rate: Annotated[float, typer.Option(help="Largest learning rate.")] = 0.1,
    samples: Annotated[int | None, typer.Option(help="Training pictures to take; default: all.")] = None,
    seed: Annotated[
        int, typer.Option(help="Decides the first weights, the order of samples and stochastic rounding.")
    ] = 0,
    profile_widths: Annotated[
        str, typer.Option(help="Also profile every layer's weight, activation and error at these widths; empty: no.")
    ] = "",
) -> None:
    """Train a small network in low precision and measure it.

    Accuracy, formats over time, gradients, training profiles.
    """
    from dse.training import require_torch

    require_torch()
    from dse.training.loops.train import Recipe
    from dse.training.measure_training import measure_training

    widths = [int(width) for width in numbers("--profile-widths", profile_widths or None) or []]
    recipe = Recipe(network, epochs, batch, rate, seed=seed)
    asked: Any = {"plan": plan, "schedule": schedule, "policy": policy, "samples": samples, "profile_widths": widths}
    with measuring("training", "stopped; nothing is written") as told:
        measured = measure_training(
            out, recipe, data, **asked, progress=lambda epoch, left: told(epoch.epoch, epochs, left)
        )
    say("\n".join([*measured.summary, f"measured: {out}"]))
