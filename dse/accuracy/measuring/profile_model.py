"""``dse profile`` and ``dse calibrate``: from a model file and data to a profile file that ``dse explore`` takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast, get_args

from dse.accuracy.calibrate import Calibration, Kind, calibrate_file, read_points
from dse.accuracy.measuring.data import load_data
from dse.accuracy.measuring.journal import Progress
from dse.accuracy.measuring.measure import measure, measure_points
from dse.accuracy.measuring.onnx_model import OnnxModel, check_images, open_onnx
from dse.accuracy.measuring.settings import Images, Labels, Settings
from dse.accuracy.profiles.loading import read_profile
from dse.accuracy.profiles.schema import ProfileFile, profile_text
from dse.errors import InputError
from dse.files import is_folder, remove_file, why_not_written, write_text
from dse.numbers import BASELINE, IMAGES, MEASURED_PLANS, SEED
from dse.workload.load import load_workload


def profile_onnx(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    settings: Settings,
    *,
    labels: str | Path | None = None,
    images: int | None = 64,
    per_channel: bool = True,
    skip_unsupported: bool = False,
    network: str | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> ProfileFile:
    """Measure an ONNX model and write its profile; an interrupted measurement goes on from ``out`` + ``.part``.

    Parameters
    ----------
    model, data, labels
        See :func:`dse.accuracy.measuring.onnx_model.open_onnx` and :func:`dse.accuracy.measuring.data.load_data`.
    out
        Profile file to write; a finished one is not overwritten.
    images
        Take that many, evenly spaced; None: all.
    network
        Name of the workload that the profile is of; None: the model file's name without suffix.

    Raises
    ------
    InputError
        Anything that is wrong with the model, the data, the settings or the place to write to; nothing is written then.
    """
    IMAGES.check(images)
    target = _free(out)
    opened = open_onnx(model, per_channel=per_channel, skip_unsupported=skip_unsupported, threads=threads)
    pictures, classes = _data(opened, data, labels, images)
    journal = target.with_name(f"{target.name}.part")
    file = measure(opened, pictures, classes, settings, journal, progress)
    if network is not None:
        file = file.model_copy(update={"network": network})
    write_text(target, profile_text(file))
    remove_file(journal)
    return file


def calibrate_onnx(
    profile: str | Path,
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    plans: int = 24,
    seed: int = 0,
    labels: str | Path | None = None,
    images: int | None = 64,
    per_channel: bool = True,
    skip_unsupported: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Measure whole plans of an ONNX model and fit the predictor of its profile; resumable as :func:`profile_onnx`.

    Give images that the profile has not seen: the predictor's error is then that on new images.

    Raises
    ------
    InputError
        As :func:`profile_onnx` and :func:`dse.accuracy.measuring.measure.measure_points`.
    """
    for bounds, value in ((IMAGES, images), (MEASURED_PLANS, plans), (SEED, seed)):
        bounds.check(value)
    target = _free(out)
    file, document = read_profile(profile)
    opened = open_onnx(model, per_channel=per_channel, skip_unsupported=skip_unsupported, threads=threads)
    pictures, classes = _data(opened, data, labels, images)
    journal = target.with_name(f"{target.name}.part")
    found = measure_points(file, document, opened, pictures, classes, plans, seed, journal, progress)
    write_text(target, profile_text(found.file))
    remove_file(journal)
    return found


def calibrate_points(
    profile: str | Path,
    points: str | Path,
    out: str | Path,
    calibration: Kind | None = None,
    workload: str | Path | None = None,
    baseline: float | None = None,
) -> Calibration:
    """Fit the predictor of a profile to plans that were measured elsewhere; see :func:`dse.accuracy.calibrate.read_points`.

    Parameters
    ----------
    workload
        Needed for points that name plans.
    baseline
        The value without quantization in the same runs as the points; None: the profile's.

    Raises
    ------
    InputError
        Anything that is wrong with the files; nothing is written then.
    """
    target = _free(out)
    BASELINE.check(baseline)
    network = None if workload is None else load_workload(workload)
    measured = read_points(points, profile, network)
    file, document = read_profile(profile)
    if baseline is not None:
        if file.points:
            message = f"has points that are counted from {file.prediction.baseline:g}; its baseline stays"
            raise InputError(document.source, [message])
        update = {"baseline": baseline, "baseline_name": "the baseline that was measured with the points"}
        file = file.model_copy(update={"prediction": file.prediction.model_copy(update=update)})
    found = calibrate_file(file, document, measured, calibration)
    write_text(target, profile_text(found.file))
    return found


def calibration_kind(text: str | None) -> Kind | None:
    """What points are of, from text; None: what the profile says.

    Raises
    ------
    InputError
        Another word.
    """
    if text is not None and text not in get_args(Kind):
        raise InputError("--kind", [f"expected {' or '.join(get_args(Kind))}, got '{text}'"])
    return cast("Kind | None", text)


def _free(out: str | Path) -> Path:
    target = Path(out)
    if os.path.lexists(target):
        raise InputError(str(out), ["exists already; delete it or write to another file"])
    if not is_folder(target.parent):
        raise InputError(str(out), [f"cannot be written: there is no folder {target.parent}"])
    # Measuring takes long: a place that cannot be written is found before it.
    why = why_not_written(target) or why_not_written(target.with_name(f"{target.name}.part"))
    if why:
        raise InputError(str(out), [why])
    return target


def _data(
    opened: OnnxModel, data: str | Path, labels: str | Path | None, images: int | None
) -> tuple[Images, Labels | None]:
    found, classes = load_data(data, labels, images)
    pictures = check_images(opened, found, str(data))
    if classes is not None:
        count = opened.outputs(pictures[:1], {}, {}, {}).shape[1]
        if int(classes.max()) >= count:
            raise InputError(
                str(labels or data), [f"has label {int(classes.max())}, but the model has {count} classes"]
            )
    return pictures, classes
