"""The rooms of the house obey the one-way order, shown from the import statements."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dse.version import VERSION

PACKAGE = Path(__file__).parents[1] / "dse"

#: What each room may import, besides itself. Nobody imports cli.
GROUND = {"errors", "files", "array_files", "numbers", "units", "yaml_input", "shipped", "version", "names", "types", "goals", "content", "showing"}
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "array_files": {"errors", "files"},
    "numbers": {"errors"},
    "goals": {"errors", "types"},
    "units": {"goals"},
    "version": set(),
    "names": set(),
    "content": set(),
    "showing": {"errors"},
    "types": set(),
    "yaml_input": {"errors", "files"},
    "shipped": {"errors", "files", "yaml_input"},
    "workload": GROUND,
    "precision": GROUND,
    "hardware": GROUND,
    "mapping": GROUND | {"workload", "hardware"},
    "cost": GROUND | {"workload", "precision", "hardware", "mapping"},
    "system": GROUND | {"workload", "precision", "hardware", "mapping", "cost"},
    "accuracy": GROUND | {"workload", "precision"},
    "training": GROUND | {"workload", "precision", "accuracy"},
    "search": GROUND | {"workload", "precision", "hardware", "mapping", "cost", "accuracy", "system"},
    "report": GROUND,
    "export": GROUND | {"workload", "precision", "hardware", "mapping", "cost", "report"},
    "validation": GROUND
    | {"workload", "precision", "hardware", "mapping", "cost", "accuracy", "training", "search", "report", "export", "studies"},
    "studies": GROUND | {"workload", "precision", "hardware", "mapping", "cost", "accuracy", "training", "search", "report", "export"},
}


#: Circles that are known and on their way out.
KNOWN_CIRCLES: set[frozenset[str]] = set()


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def imported(module: str) -> frozenset[str]:
    """Modules of the package that a module imports, also inside functions and for type checking."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {part if part in MODULES else str(node.module) for part in parts}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(name for name in found if name.split(".")[0] == "dse" and name != module)


def imported_rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(module_name(path)) if name != "dse"}


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of nodes that reach one another (Tarjan, SIAM Journal on Computing 1, 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = set()

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            part = set(stack[stack.index(node):])
            del stack[stack.index(node):]
            if len(part) > 1:
                found.add(frozenset(part))

    for node in graph:
        if node not in number:
            visit(node)
    return found


def folded(depth: int) -> dict[str, set[str]]:
    """Imports between names of at most ``depth`` parts that share all parts but the last."""
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        for other in imported(module):
            a, b = (".".join(name.split(".")[:depth]) for name in (module, other))
            if a != b and a.split(".")[: depth - 1] == b.split(".")[: depth - 1]:
                graph.setdefault(a, set()).add(b)
    return graph


def test_no_module_imports_the_package_itself():
    assert [name for name in MODULES if name != "dse" and "dse" in imported(name)] == []


def test_modules_import_in_no_circle():
    assert circles({name: set(imported(name)) for name in MODULES}) - KNOWN_CIRCLES == set()


@pytest.mark.parametrize("depth", [2, 3, 4, 5], ids=["rooms", "sub-folders", "below", "lowest"])
def test_folders_import_in_no_circle(depth):
    assert circles(folded(depth)) - KNOWN_CIRCLES == set()


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == {frozenset("abc")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__", "cli"):
        return
    assert imported_rooms(path) <= ALLOWED[room] | {room}


#: Folders that hold more subjects than the eight that one must know, each with what they are: entries of a list, which one knows by name.
LISTS = {
    "dse": "rooms and the ground floor",
    "dse/studies/systems": "one module for each published system",
}


def subjects(folder: Path) -> list[str]:
    """Modules and folders of a folder, but for those that Python asks for."""
    return [item.name for item in folder.iterdir() if (item.suffix == ".py" or any(item.glob("*.py"))) and not item.name.startswith("_")]


def test_a_folder_holds_eight_subjects_or_says_why_not():
    folders = {str(path.parent.relative_to(PACKAGE.parent)) for path in PACKAGE.rglob("*.py")}
    crowded = {name for name in folders if len(subjects(PACKAGE.parent / name)) > 8}
    assert crowded == set(LISTS)


#: What has one definition, and where.
WORDS = ("DIMS", "PASSES", "ROLES", "SIDES", "READ_SIDES", "OPERANDS", "MAC_OPERANDS", "MAPPING_OBJECTIVES")
ARRAYS = ("Floats", "Ints", "Bools")


@functools.cache
def defined(module: str) -> set[str]:
    """Names that a module assigns at its top."""
    found = set()
    for node in ast.parse(MODULES[module].read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("word", [*WORDS, *ARRAYS, "OBJECTIVES", "LIMITS"])
def test_a_word_is_defined_once(word):
    home = "dse.names" if word in WORDS else "dse.types" if word in ARRAYS else "dse.goals"
    assert [name for name in MODULES if word in defined(name)] == [home], f"take {word} from {home}"


def test_a_function_fits_on_a_screen():
    """At most 80 lines below its signature and docstring: options of a command and what they mean may take more, work may not."""
    long = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                if lines > 80:
                    long.append(f"{module}.{node.name}: {lines} lines")
    assert not long


def test_the_program_says_where_its_mappings_come_from():
    """What it evaluates for itself is looked up in tables or searched on as a run has it, never as the length of a table decides."""
    silent = []
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        names = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in ("dse.cost", "dse.cost.totals.evaluate")
            for alias in node.names
            if alias.name == "evaluate"
        }
        for node in ast.walk(tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
            if called and "search_mappings" not in {word.arg for word in node.keywords}:
                silent.append(f"{module}:{node.lineno}")
    assert not silent


def test_nothing_refers_to_a_design_by_numbers():
    """Sections of the repository's own docs have titles; numbers are those of a text that is not here, and move."""
    numbered = re.compile(r"\bDESIGN \d|design\.md[`)]*,? section \d")
    told = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "docs").glob("*.md"), *(PACKAGE.parent / "benchmarks").glob("*.py")]
    assert not [str(path) for path in told if numbered.search(path.read_text(encoding="utf-8"))]


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((PACKAGE.parent / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION
    assert {"cff-version", "title", "message", "authors", "type", "license", "abstract", "keywords"} <= set(citation)


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
