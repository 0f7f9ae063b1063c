"""Would the tests see a wrong model? Samples one-line mutants of the rooms that compute figures and runs the tests that cover them.

    python benchmarks/mutants.py --sample 300 --seed 0 --jobs 2
    python benchmarks/mutants.py --sample 20 --rooms cost --file dse/cost/tensors/memory.py

A mutant is one changed operator, constant or function name in one place (Papadakis et al., "Mutation testing
advances", 2019), never in a docstring, message, annotation or import. Each runs in a copy of the repository: first the tests that
name its module; then the figures of mutants_figures.py; where one of those moves by more than 1e-9, and without ``--nearest``, the
tests of its room too. It is *killed* if a test fails, *equivalent* if none of the nearest does and no figure moves, a *survivor*
otherwise. The rate is killed / (killed + survivors). ``--log FILE`` keeps a line per mutant, which a later call with the same
sample goes on from. Ends with one JSON line: ``sampled, killed, equivalent, survivors`` (each with file, line and change),
``rate``, ``cpu_seconds``.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[1]
ROOMS = ("cost", "mapping", "precision", "hardware", "search", "accuracy")
#: Tests of a room, nearest first; what they do not see, the figures of the last folders may.
TESTS = {
    "cost": ("tests/cost", "tests/published", "tests/studies"),
    "mapping": ("tests/mapping", "tests/cost"),
    "precision": ("tests/precision", "tests/cost", "tests/published"),
    "hardware": ("tests/hardware", "tests/cost", "tests/published"),
    "search": ("tests/search", "tests/end_to_end/test_cli.py"),
    "accuracy": ("tests/accuracy", "tests/published"),
}
#: Processor seconds of one command, and seconds that it may wait; whatever takes longer never ends, and has failed.
LIMIT_CPU_S, LIMIT_S = 400, 7200
TOLERANCE = 1e-9

OPERATORS = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"), ast.Pow: ("**", "*"), ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"), ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip
NAMES = {"maximum": "minimum", "minimum": "maximum", "max": "sum", "min": "max", "sum": "max", "ceil": "floor", "floor": "ceil",
         "argmin": "argmax", "argmax": "argmin", "any": "all", "all": "any", "cumsum": "cumprod", "log2": "log"}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed stretch of one file."""

    file: str
    line: int
    column: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column} {self.old!r} -> {self.new!r}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a file, in the order of its text."""
    text = path.read_text(encoding="utf-8")
    lines, tree = text.split("\n"), ast.parse(text)
    quiet = _quiet(tree)
    for node in ast.walk(tree):
        if id(node) in quiet:
            continue
        for at, old, new in _changes(node, lines):
            if at is not None and lines[at[0] - 1][at[1] :].startswith(old):
                yield Mutant(str(path.relative_to(ROOT)), at[0], at[1], old, new)


def _quiet(tree: ast.AST) -> set[int]:
    """Nodes that say something and compute nothing: messages of errors, annotations, docstrings, imports."""
    found: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Assert):
            parts = [node]
        elif isinstance(node, ast.FunctionDef):
            arguments = node.args.args + node.args.kwonlyargs
            parts = [node.returns, *(argument.annotation for argument in arguments), *node.decorator_list]
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        for part in parts:
            if part is not None:
                found |= {id(inner) for inner in ast.walk(part)}
    return found


def _changes(node: ast.AST, lines: list[str]) -> Iterator[tuple[tuple[int, int] | None, str, str]]:
    """(place, old text, new text) of what can be changed at a node itself."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield _between(node.left, node.right, OPERATORS[type(node.op)], lines)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
        yield _between(node.left, node.comparators[0], OPERATORS[type(node.ops[0])], lines)
    elif isinstance(node, ast.BoolOp):
        yield _between(node.values[0], node.values[1], OPERATORS[type(node.op)], lines)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield (node.lineno, node.col_offset), "not ", ""
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield (node.lineno, node.col_offset), str(node.value), str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        text = lines[node.lineno - 1][node.col_offset : node.end_col_offset]
        yield (
            (node.lineno, node.col_offset),
            text,
            f"({text} + 1)" if isinstance(node.value, int) else f"({text} * 1.1 + 1e-6)",
        )
    elif isinstance(node, ast.Attribute | ast.Name):
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        if name in NAMES and node.end_col_offset is not None and node.end_lineno is not None:
            yield (node.end_lineno, node.end_col_offset - len(name)), name, NAMES[name]


def _between(
    left: ast.expr, right: ast.expr, words: tuple[str, str], lines: list[str]
) -> tuple[tuple[int, int] | None, str, str]:
    """Where an operator stands between two operands; None where they are on different lines."""
    old, new = words
    if left.end_lineno != right.lineno or left.end_col_offset is None:
        return None, old, new
    at = lines[right.lineno - 1].find(old, left.end_col_offset, right.col_offset)
    return (None if at < 0 else (right.lineno, at)), old, new


@dataclass(frozen=True)
class Slot:
    """A copy of the repository in which one mutant runs at a time; its place stays, so that compiled kernels are found."""

    folder: Path

    def environment(self, mutant: Mutant | None) -> dict[str, str]:
        """Variables of a run: a mutant of a kernel compiles all kernels anew, one of the mapper builds its own tables."""
        kernels = mutant is not None and "njit" in (ROOT / mutant.file).read_text(encoding="utf-8")
        tables = mutant is not None and mutant.file.startswith("dse/mapping")
        places = {name: self.folder / name for name in ("kernels", "tables")}
        for name, fresh in (("kernels", kernels), ("tables", tables)):
            if fresh:
                places[name] = self.folder / f"{name}_of_the_mutant"
                shutil.rmtree(places[name], ignore_errors=True)
        return {
            **os.environ,
            "PYTHONPATH": str(self.folder / "repo"),
            "NUMBA_CACHE_DIR": str(places["kernels"]),
            "DSE_CACHE_DIR": str(places["tables"]),
        }


def slot(folder: Path) -> Slot:
    """A fresh copy of the repository."""
    ignored = shutil.ignore_patterns(".git", ".venv*", "reports", "__pycache__", ".hypothesis", ".mypy_cache")
    shutil.copytree(ROOT, folder / "repo", ignore=ignored)
    return Slot(folder)


def nearest(file: str) -> list[str]:
    """Test files that import from a module or are named after it, the shortest first."""
    module = file.removesuffix(".py").replace("/", ".")
    room, name = file.split("/")[1], Path(file).stem
    found = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if f"from {module} import" in (text := path.read_text(encoding="utf-8"))
        or (path.parent.name == room and (path.stem == f"test_{name}" or f"{name}." in text))
    ]
    return [str(path.relative_to(ROOT)) for path in sorted(found, key=lambda path: path.stat().st_size)]


def judged(mutant: Mutant, place: Slot, base: dict[str, list[float]], near: bool) -> str:
    """``killed``, ``equivalent`` or ``survivor``."""
    path, original = place.folder / "repo" / mutant.file, ROOT / mutant.file
    lines = original.read_text(encoding="utf-8").split("\n")
    line = lines[mutant.line - 1]
    lines[mutant.line - 1] = line[: mutant.column] + mutant.new + line[mutant.column + len(mutant.old) :]
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        environment = place.environment(mutant)

        def seen_by(tests: list[str]) -> bool:
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
            return bool(tests) and run(command, place.folder / "repo", environment) != 0

        if seen_by(nearest(mutant.file)):
            return "killed"
        figures = figures_of(place, environment)
        if figures is not None and not moved(base, figures):
            return "equivalent"
        room = [] if near else TESTS[Path(mutant.file).parts[1]]
        return "killed" if any(seen_by([tests]) for tests in room) else "survivor"
    finally:
        shutil.copy2(original, path)


def figures_of(place: Slot, environment: dict[str, str]) -> dict[str, list[float]] | None:
    """Figures of the copy of the program; None where they cannot be computed."""
    result = place.folder / "figures.json"
    command = [sys.executable, "benchmarks/mutants_figures.py", str(result)]
    if run(command, place.folder / "repo", environment) != 0:
        return None
    figures: dict[str, list[float]] = json.loads(result.read_text())
    return figures


def moved(base: dict[str, list[float]], figures: dict[str, list[float]]) -> bool:
    """Whether any figure differs by more than :data:`TOLERANCE` of itself, or is there in one of them only."""
    if base.keys() != figures.keys():
        return True
    for name, old in base.items():
        new = figures[name]
        if len(old) != len(new):
            return True
        for a, b in zip(old, new, strict=True):
            if a != b and not (a != a and b != b) and not abs(a - b) <= TOLERANCE * max(abs(a), abs(b)):
                return True
    return False


def run(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Exit code; a command beyond its limits is killed with its children and has failed."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
    with suppress(ProcessLookupError):
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (LIMIT_CPU_S, LIMIT_CPU_S))
    try:
        return process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rooms", default=",".join(ROOMS))
    parser.add_argument("--nearest", action="store_true", help="only the tests that name the module: quicker, and stricter")
    parser.add_argument("--log", type=Path, help="a line per mutant; those that it holds are not run again")
    parser.add_argument("--file", action="append", help="only mutants of this file (may be repeated)")
    arguments = parser.parse_args()
    files = [path for room in arguments.rooms.split(",") for path in sorted((ROOT / "dse" / room).rglob("*.py"))]
    if arguments.file:
        files = [path for path in files if str(path.relative_to(ROOT)) in arguments.file]
    every = [mutant for path in files for mutant in mutants_of(path)]
    chosen = random.Random(arguments.seed).sample(every, min(arguments.sample, len(every)))
    log: dict[str, str] = {}
    if arguments.log is not None and arguments.log.exists():
        log = dict(line.split(" ", 1)[::-1] for line in arguments.log.read_text(encoding="utf-8").splitlines())
    counts: dict[str, list[Mutant]] = {"killed": [], "equivalent": [], "survivor": []}
    with tempfile.TemporaryDirectory(prefix="dse-mutants-") as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        free: Queue[Slot] = Queue()
        for number in range(arguments.jobs):
            free.put(slot(Path(folder) / str(number)))
        first = free.get()
        base = figures_of(first, first.environment(None))
        free.put(first)
        if base is None:
            raise SystemExit("the unchanged program does not compute its figures")

        def verdict(mutant: Mutant) -> str:
            if str(mutant) in log:
                return log[str(mutant)]
            place = free.get()
            try:
                found = judged(mutant, place, base, arguments.nearest)
            finally:
                free.put(place)
            print(f"{found} {mutant}", file=sys.stderr, flush=True)
            if arguments.log is not None:
                with arguments.log.open("a", encoding="utf-8") as stream:
                    stream.write(f"{found} {mutant}\n")
            return found

        for mutant, found in zip(chosen, pool.map(verdict, chosen), strict=True):
            counts[found].append(mutant)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    killed, survived = len(counts["killed"]), len(counts["survivor"])
    print(json.dumps({
        "possible": len(every),
        "sampled": len(chosen),
        "killed": killed,
        "equivalent": len(counts["equivalent"]),
        "survivors": [asdict(mutant) for mutant in counts["survivor"]],
        "rate": killed / max(killed + survived, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
