"""The rooms of the house obey the one-way order, shown from the import statements."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dse"

#: What each room may import, besides itself. Nobody imports cli.
GROUND = {"errors", "files", "units", "yaml_input", "shipped"}
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "units": {"errors"},
    "yaml_input": {"errors"},
    "shipped": {"errors", "yaml_input"},
    "workload": GROUND,
    "precision": GROUND,
    "hardware": GROUND,
    "mapping": GROUND | {"workload", "hardware"},
    "cost": GROUND | {"workload", "precision", "hardware", "mapping"},
    "accuracy": GROUND | {"workload", "precision"},
    "training": GROUND | {"workload", "precision", "accuracy"},
    "search": GROUND | {"workload", "precision", "hardware", "mapping", "cost", "accuracy"},
    "report": GROUND,
    "export": GROUND | {"workload", "precision", "hardware", "mapping", "cost", "report"},
    "validation": GROUND
    | {"workload", "precision", "hardware", "mapping", "cost", "accuracy", "training", "search", "report", "export", "studies"},
    "studies": GROUND | {"workload", "precision", "hardware", "mapping", "cost", "accuracy", "training", "search", "report", "export"},
}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""] if node.module != "dse" else [f"dse.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("dse.")}
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__", "cli"):
        return
    assert imported_rooms(path) <= ALLOWED[room] | {room}


def test_every_room_is_listed():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__", "__main__", "cli"} <= set(ALLOWED)


def test_import_loads_no_heavy_library():
    code = "import sys, dse; print(sorted({'numpy', 'pandas', 'optuna', 'numba', 'plotly'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_names_of_the_interface_resolve():
    import dse

    for name in dse.__all__:
        assert getattr(dse, name) is not None
    with pytest.raises(AttributeError, match="nothing_like_it"):
        dse.nothing_like_it  # noqa: B018
