"""``dse profile``: from a model file and data to a profile file that ``dse explore`` takes."""

from __future__ import annotations

from pathlib import Path

from dse.accuracy.data import load_data
from dse.accuracy.measure import Progress, Settings, measure
from dse.accuracy.onnx_model import check_images, open_onnx
from dse.accuracy.schema import ProfileFile, profile_text
from dse.errors import InputError


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
        See :func:`dse.accuracy.onnx_model.open_onnx` and :func:`dse.accuracy.data.load_data`.
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
    target = Path(out)
    if target.exists():
        raise InputError(str(out), ["exists already; delete it or write to another file"])
    if not target.parent.is_dir():
        raise InputError(str(out), [f"cannot be written: there is no folder {target.parent}"])
    opened = open_onnx(model, per_channel=per_channel, skip_unsupported=skip_unsupported, threads=threads)
    found, classes = load_data(data, labels, images)
    pictures = check_images(opened, found, str(data))
    if classes is not None:
        count = opened.outputs(pictures[:1], {}, {}, {}).shape[1]
        if int(classes.max()) >= count:
            raise InputError(
                str(labels or data), [f"has label {int(classes.max())}, but the model has {count} classes"]
            )
    journal = target.with_name(f"{target.name}.part")
    file = measure(opened, pictures, classes, settings, journal, progress)
    if network is not None:
        file = file.model_copy(update={"network": network})
    try:
        target.write_text(profile_text(file), encoding="utf-8")
    except OSError as error:
        raise InputError(str(out), [f"cannot be written: {error.strerror}"]) from None
    journal.unlink(missing_ok=True)
    return file
