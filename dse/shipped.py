"""Where the workloads, profiles and hardware models lie that ship with the package."""

from __future__ import annotations

from pathlib import Path

from dse.errors import InputError
from dse.files import is_file, why_not_read
from dse.yaml_input import suggest


def shipped_folder(kind: str) -> Path:
    """Folder of the shipped files of a kind: ``workloads``, ``workloads/profiles`` or ``hwmodels``.

    In a wheel they lie inside the package; in a checkout they are the folders at its top.
    """
    package = Path(__file__).parent
    inside = package / "_data" / kind
    return inside if inside.is_dir() else package.parent / kind


def shipped_names(kind: str) -> list[str]:
    """Names of the shipped files of a kind, sorted, without suffix."""
    return sorted(path.stem for path in shipped_folder(kind).glob("*.yaml"))


def find_file(name_or_path: str | Path, kind: str) -> Path:
    """The file that a user means: a path that exists, else the shipped file of that name.

    A path such as ``workloads/imagenet_resnet.yaml`` also finds the shipped file from any folder.

    Raises
    ------
    InputError
        Neither a file nor a shipped name; near names are suggested. What is there and is no plain file is named.
    """
    path = Path(name_or_path)
    if is_file(path):
        return path
    names = shipped_names(kind)
    plain = str(path.parent) in (".", kind)
    stem = path.name.removesuffix(".yaml")
    if plain and stem in names:
        return shipped_folder(kind) / f"{stem}.yaml"
    why = why_not_read(path, "a YAML file")
    if why not in ("", "no such file"):
        raise InputError(str(name_or_path), [why])
    if plain and kind == "hwmodels" and stem in shipped_names("hwmodels/gpus"):
        raise InputError(str(name_or_path), [_data_sheet(stem)])
    raise InputError(str(name_or_path), [f"no such file, and no shipped name in {kind}{suggest(stem, names)}"])


def _data_sheet(gpu: str) -> str:
    """How to ask for a GPU of which a data sheet ships and no file of its memories."""
    systems = [name for name in shipped_names("hwmodels/systems") if gpu in name.split("_")]
    asked = (
        f"--system {systems[0]} in place of --hardware" if systems else f"dse.system.products with load_gpu('{gpu}')"
    )
    return (
        f"{gpu} is a data sheet of products, not a hardware file: no source of its L2's bandwidth is known here; use {asked} "
        "(docs/low-precision.md has the time of its products by format)"
    )
