"""Run ``dse`` on inputs that were damaged or made to harm, and count what it did wrong.

    python benchmarks/hostile.py --inputs 5000 --seed 0                      # the last line is JSON
    python benchmarks/hostile.py --inputs 500 --first 1500 --seed 0          # the fourth 500 of them

Every input is a command line with its files (:mod:`hostile_inputs`), run by a child of this process in a folder of its own, with 10
CPU seconds and a bound on memory. Counted are: ``tracebacks`` (also an exit by a signal and a library's warning on the terminal),
``hangs`` (over 10 CPU seconds, over a minute of waiting, or over the memory), ``files_left`` (an exit code other than 0 and a file
or a folder that is new, gone or changed), ``wrong_codes`` (a code other than 0, 2 and 3, nothing said, more said than a person
reads, control characters, JSON that is none). With ``--keep FOLDER`` every such case is written there.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from hostile_bases import make_bases
from hostile_inputs import Case, bad_target, damaged, linked, special_place

#: A hang uses up so many CPU seconds, or waits for so long; time in which it would run and gets no processor is not its own.
CPU_SECONDS, WAIT_SECONDS = 10, 60
#: What a case may take beyond what the process holds before it begins, bytes.
MEMORY = 3 << 30
#: Longest message on standard error, bytes.
SAID = 40_000

WORDS = yaml.safe_load((Path(__file__).parent / "hostile.yaml").read_text())
#: Command lines by the file that is damaged, and options by command; see the file.
COMMANDS: dict[str, list[str]] = WORDS["commands"]
OPTIONS: dict[str, dict[str, str]] = WORDS["options"]
NUMBERS = [*WORDS["numbers"], "9" * 5000, "a" * 300]
TEXTS = [*WORDS["texts"], *("a" * 300, "a" * 5000, "w" * 4000, "w8a8," * 500, "weight=" * 300, "\udcff\udcfe")]
ENVIRONMENTS: tuple[dict[str, str | None], ...] = (
    {"HOME": None, "XDG_CACHE_HOME": None, "DSE_CACHE_DIR": None},
    {"HOME": "/dev/null", "DSE_CACHE_DIR": None},
    {"DSE_CACHE_DIR": "/dev/full/x"},
    {"DSE_CACHE_DIR": "net.yaml"},
    {"NO_COLOR": "1"},
    {"FORCE_COLOR": "1"},
    {"COLUMNS": "1"},
    {"COLUMNS": "x", "LINES": "-1"},
    {"COLUMNS": "100000"},
    {"TERM": "dumb"},
    {"TERM": "\x1b[31m"},
    {"TMPDIR": "/nonexistent"},
)
OUTPUTS = ("file",) * 30 + ("full", "closed", "ascii", "pipe", "reader gone")


def drawn(draw: random.Random, folder: Path) -> Case:
    """One case, its files made in a folder that holds the sound ones."""
    if draw.random() < 0.72:
        name = draw.choice(sorted(COMMANDS))
        words = draw.choice(COMMANDS[name]).split()
        place = draw.random()
        if place < 0.85:
            content, doing = damaged((folder / name).read_bytes(), name, draw)
            (folder / name).unlink()
            (folder / name).write_bytes(content)
            given = name
        elif place < 0.92 and any("{}" in word for word in words):
            given, doing = special_place(folder, draw), "special place"
        else:
            given, doing = draw.choice(sorted(COMMANDS)), "another kind of file"
            if not any("{}" in word for word in words):
                (folder / name).unlink()
                os.link(folder / given, folder / name) if given != name else None
        case = Case([word.replace("{}", given) for word in words], f"{name}: {doing}")
    else:
        command = draw.choice(sorted(OPTIONS))
        words, options = command.split(), OPTIONS[command]
        for option in draw.sample(sorted(options), min(len(options), draw.choice((1, 1, 1, 2, 3)))):
            kind = options[option]
            if kind == "-":
                words.append(option)
                continue
            value = _value(kind, folder, draw)
            if option in words:
                words[words.index(option) + 1] = value
            else:
                words += [option, value]
        if draw.random() < 0.05:
            words[draw.randrange(len(words))] = draw.choice(TEXTS + NUMBERS)
        case = Case(words, "options")
    changes: dict[str, object] = {}
    if draw.random() < 0.08:
        changes["environment"] = draw.choice(ENVIRONMENTS)
    if draw.random() < 0.1:
        changes["output"] = draw.choice(OUTPUTS[29:])
    if draw.random() < 0.06:
        changes["file_bytes"] = draw.choice((0, 1, 100, 4096, 100_000))
    if draw.random() < 0.1 and os.geteuid() == 0:
        changes["user"] = True
    return replace(case, **changes)


def _value(kind: str, folder: Path, draw: random.Random) -> str:
    if kind == "f" and draw.random() < 0.4:
        return draw.choice(sorted(COMMANDS))
    if kind == "f" and draw.random() < 0.7:
        return special_place(folder, draw)
    if kind == "o" and draw.random() < 0.8:
        return bad_target(folder, draw)
    if kind == "n" or draw.random() < 0.2:
        return draw.choice(NUMBERS)
    return draw.choice(TEXTS)


def seen(folder: Path) -> dict[str, tuple[int, ...]]:
    """Everything in a folder, so that a change shows."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(place, name)
            state = os.lstat(path)
            is_folder = os.path.isdir(path) and not os.path.islink(path)
            found[path] = (
                (state.st_mode,) if is_folder else (state.st_mode, state.st_ino, state.st_size, state.st_mtime_ns)
            )
    return found


def child(case: Case, folder: Path, told: Path) -> None:
    """What a forked child does: becomes the program."""
    from dse.__main__ import main

    os.setsid()
    for name, value in case.environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    if case.user:
        without_rights()
    os.chdir(folder)
    if case.output == "closed":
        os.close(1)
    else:
        target = {"full": "/dev/full"}.get(case.output, str(told / "out"))
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        if case.output in ("pipe", "reader gone"):
            reading, handle = os.pipe()
            if case.output == "reader gone":
                os.close(reading)
        os.dup2(handle, 1)
    os.dup2(os.open(str(told / "err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 2)
    encoding = "ascii" if case.output == "ascii" else "utf-8"
    sys.stdout = None if case.output == "closed" else open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdout__ = sys.stdout
    if case.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(case.file_bytes, 0), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 2))
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sys.argv = ["dse", *case.arguments]
    main()


def without_rights() -> None:
    """Make root obey the permissions of files, as anybody else does: give up CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        for k in range(3):
            sets[k] &= ~0b110
        libc.capset(header, sets)


def ran(case: Case, folder: Path, told: Path) -> tuple[int, float, bool]:
    """Exit code (negative: a signal), CPU seconds, and whether it was given up, of a case in a child."""
    process = os.fork()
    if not process:
        code = 1
        try:
            child(case, folder, told)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc(file=sys.stderr)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(code)
    given_up, waited, looked = False, 0.0, time.monotonic()
    while True:
        done, status, usage = os.wait4(process, os.WNOHANG)
        if done:
            break
        before, looked = looked, time.monotonic()
        waited += (looked - before) * _waits(process)
        if waited > WAIT_SECONDS:
            given_up = True
            os.killpg(process, signal.SIGKILL)
            _, status, usage = os.wait4(process, 0)
            break
        time.sleep(0.005)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return code, usage.ru_utime + usage.ru_stime, given_up


def _waits(process: int) -> bool:
    """Whether a process sleeps: none of its threads runs or waits for a processor, while others may wait for that thread."""
    try:
        states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{process}/task").glob("*/stat")]
    except OSError:
        return False
    return bool(states) and "R" not in states


def judged(
    case: Case, code: int, seconds: float, given_up: bool, before: dict, after: dict, told: Path
) -> dict[str, str]:
    """What was wrong, by kind."""
    wrong = {}
    out = (told / "out").read_bytes() if (told / "out").exists() else b""
    err = (told / "err").read_bytes() if (told / "err").exists() else b""
    slow = given_up or seconds > CPU_SECONDS or code in (-signal.SIGXCPU, -signal.SIGKILL)
    if slow or b"the memory of this machine does not suffice" in err:
        wrong["hangs"] = f"{seconds:.1f} CPU s, code {code}"
    elif b"Traceback" in err or b"Traceback" in out or code < 0 or re.search(rb"\w+Warning:", err):
        wrong["tracebacks"] = err.decode("utf-8", "replace")[-1500:]
    # A full standard output is told by a code, and what was asked for as a file is whole all the same.
    # So does a search that the disk was too small for leave what it goes on from.
    kept = case.output == "full" or (case.file_bytes is not None and case.arguments[0] == "explore")
    if code != 0 and not slow and before != after and not kept:
        names = sorted(set(before) ^ set(after)) + sorted(
            name for name in set(before) & set(after) if before[name] != after[name]
        )
        wrong["files_left"] = f"code {code}: {', '.join(names)[:500]}"
    if "tracebacks" in wrong or slow:
        return wrong
    if code not in (0, 2, 3):
        wrong["wrong_codes"] = f"code {code}"
    elif code and not err.strip() and case.file_bytes is None:
        wrong["wrong_codes"] = "nothing was said"
    elif len(err) > SAID:
        wrong["wrong_codes"] = f"{len(err)} bytes were said"
    elif re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", out + err) and "FORCE_COLOR" not in case.environment:
        wrong["wrong_codes"] = "control characters"
    elif (
        code == 0
        and "--json" in case.arguments
        and case.output == "file"
        and case.file_bytes is None
        and not _is_json(out)
    ):
        wrong["wrong_codes"] = "no JSON"
    return wrong


def _is_json(out: bytes) -> bool:
    def refuse(text: str) -> None:
        raise ValueError(text)

    try:
        json.loads(out, parse_constant=refuse)
    except ValueError:
        return False
    return True


def prepare(folder: Path) -> Path:
    """Sound files, and a process that has everything imported and compiled, so that its children begin at once."""
    os.environ["DSE_CACHE_DIR"] = str(folder / "cache")
    bases = folder / "bases"
    bases.mkdir(parents=True)
    make_bases(bases)
    import onnx.inliner  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch  # noqa: F401

    import dse.cli
    import dse.report
    import dse.studies.page
    import dse.validation.table

    complete(dse.cli.app)
    # Compiled code of a search per design, which no sound file asks for: the first child would be stopped while it compiles, and
    # so would every one after it.
    hardware = yaml.safe_load((bases / "hardware.yaml").read_text())
    del hardware["memories"]["accumulator_register"]["holds"]
    (folder / "deep.yaml").write_text(yaml.safe_dump(hardware, sort_keys=False))
    network = dse.load_workload(bases / "net.yaml")
    plan = dse.Plan.uniform(network)
    dse.evaluate(network, dse.load_hardware(folder / "deep.yaml"), plan)
    dse.evaluate(network, dse.load_hardware(bases / "hardware.yaml"), plan, search_mappings=True)
    # As on a machine that has run a search before: else whoever searches first would make the tables of the published figures.
    dse.validation.table.published_rows()
    return bases


def complete(app: Any) -> None:
    """Draw from every option of the verbs in hostile.yaml, those too that it does not name yet."""
    import typer.main

    for verb, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for line in (line for line in OPTIONS if line.split()[0] == verb):
            known = OPTIONS[line]
            for parameter in command.params:
                name = max(parameter.opts, key=len)
                if not name.startswith("--") or any(option in known or option in line.split() for option in parameter.opts):
                    continue
                kind = parameter.type_descriptor.annotation
                known[name] = "-" if kind is bool else "n" if kind in (int, float) else "f" if kind is Path else "t"


def campaign(
    inputs: int, seed: int, keep: Path | None = None, only: int | None = None, first: int = 0
) -> dict[str, object]:
    """Draw, run and judge; counts. An input depends on its seed and number alone, so that a campaign may be run in parts."""
    counts: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        top = Path(name)
        top.chmod(0o755)
        bases = prepare(top)
        os.chmod(top / "cache", 0o777)
        for number in range(first, first + inputs) if only is None else [only]:
            draw = random.Random(f"{seed}-{number}")
            folder, told = top / "case", top / "told"
            folder.mkdir()
            told.mkdir()
            os.chdir(folder)
            linked(bases, folder)
            if (number - first) % 250 == 0:
                print(f"{seed}: {number} of {first + inputs}, {dict(counts)}", file=sys.stderr, flush=True)
            case = drawn(draw, folder)
            before = seen(folder)
            code, seconds, given_up = ran(case, folder, told)
            codes[code] += 1
            wrong = judged(case, code, seconds, given_up, before, seen(folder), told)
            for kind, what in wrong.items():
                counts[kind] += 1
                how = f"{case.doing}; {case.output}, {case.environment}, {case.file_bytes}, {case.user}"
                print(f"{seed}-{number} {kind}: dse {' '.join(case.arguments)[:300]!r} [{how}] {what}", flush=True)
            if only is not None:
                print((told / "err").read_text(errors="replace")[-6000:], code, seconds)
            if (wrong and keep is not None) or (only is not None and keep is not None):
                shutil.copytree(
                    folder,
                    keep / f"{seed}-{number}",
                    symlinks=True,
                    dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("special*", "target*"),
                )
            os.chdir(top)
            for place in (folder, told):
                os.chmod(place, 0o755)
                shutil.rmtree(place)
    counts["cpu"] = int(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime)
    kinds = ("tracebacks", "hangs", "files_left", "wrong_codes")
    return {
        "inputs": inputs,
        "first": first,
        "seed": seed,
        **{kind: counts[kind] for kind in kinds},
        "cpu_seconds": counts["cpu"],
        "codes": {str(code): codes[code] for code in sorted(codes)},
    }


def main() -> None:
    """Run what was asked for; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the cases that went wrong")
    parser.add_argument("--only", type=int, help="run one case alone and show what it said")
    given = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = "1"
    os.environ["NUMBA_THREADING_LAYER"] = "workqueue"
    keep = given.keep and given.keep.resolve()
    print(json.dumps(campaign(given.inputs, given.seed, keep, given.only, given.first)))


if __name__ == "__main__":
    main()
