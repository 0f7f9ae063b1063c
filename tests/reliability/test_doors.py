"""The doors for files, numbers, YAML and words: what comes through them is sound, and what does not is said in one sentence."""

import ast
import math
import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dse
from dse.accuracy.measuring.journal import Notebook
from dse.array_files import arrays_in, read_arrays, unzipped
from dse.errors import InputError, Problem, printable, shortened
from dse.files import (
    HALF,
    csv_text,
    make_folder,
    new_folder,
    plain_cell,
    read_bytes,
    read_json,
    read_text,
    remove_file,
    write_all,
    write_files,
    write_text,
)
from dse.numbers import ACCURACY_DROP, MAP_UPDATES, SECONDS, SEED, TRIALS
from dse.shipped import find_file
from dse.yaml_input import MAX_DEPTH, parse_yaml


def sentence(raised):
    assert len(raised.value.problems) == 1
    return str(raised.value)


@pytest.fixture
def places(tmp_path):
    """What may stand where a file was expected."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "endless").symlink_to("/dev/zero")
    here = os.getcwd()
    os.chdir(tmp_path)  # A socket's path has at most about a hundred characters.
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    server.close()
    os.chdir(here)
    with open(tmp_path / "sparse", "wb") as stream:
        stream.truncate(10**12)
    (tmp_path / "latin").write_bytes(b"\xe9")
    (tmp_path / "plain").write_text("a: 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pipe", "is a pipe"), ("folder", "is a folder"), ("loop", "symbolic links"), ("endless", "is a device"), ("socket", "is a socket"),
        ("sparse", "larger than 20 MB"), ("latin", "is not UTF-8 text"), ("missing", "no such file"), ("plain/inside", "no such file"), ("a" * 300, "too long"),
        ("a\0b", "no file can have this name"), ("\ud800", "no file can have this name"),
    ],
)  # fmt: skip
def test_what_is_no_sound_file_is_refused_before_it_is_read(places, name, why):
    with pytest.raises(InputError, match=why) as raised:
        read_text(f"{places}/{name}")
    assert "\0" not in sentence(raised)
    for load in (dse.load_workload, dse.load_hardware, dse.load_profile):
        with pytest.raises(InputError):
            load(f"{places}/{name}")


def test_a_file_that_claims_no_size_is_read_up_to_a_bound():
    assert read_bytes("/proc/self/status").startswith(b"Name:")
    with pytest.raises(InputError, match=r"larger than|cannot be read"):
        read_bytes("/proc/self/mem")


@pytest.mark.parametrize("text", ["[" * 20_000, '{"a": NaN}', '{"a": 1e999}', '{"a": ' + "9" * 5000 + "}", "{", "", '{"a": -Infinity}'])
def test_json_has_finite_numbers_and_bounded_depth(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="is no JSON"):
        read_json(tmp_path / "a.json")


def test_several_files_are_all_written_or_none(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_files({tmp_path / "old": "new", tmp_path / "other": b"new", tmp_path / "taken": "new"})
    assert (tmp_path / "old").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"old", "taken"}
    (tmp_path / "link").symlink_to("old")
    (tmp_path / "old").chmod(0o600)
    write_files({tmp_path / "link": "new", tmp_path / "other": "new"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "old").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["/dev/null", "/dev/full", "", ".", "a" * 300, "a\0b", "missing/a", "plain/a", "loop/a", "/proc/a"])
def test_a_place_where_nothing_can_be_written_is_said_and_stays(places, monkeypatch, name):
    monkeypatch.chdir(places)
    before = sorted(path.name for path in places.iterdir())
    with pytest.raises(InputError, match="cannot be written"):
        write_text(os.fspath(name), "text") if name in ("", ".") else write_text(name, "text")
    assert sorted(path.name for path in places.iterdir()) == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


FULL = """
import resource, sys
from pathlib import Path
from dse.errors import InputError
from dse.files import write_files
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    write_files({Path("small"): "x", Path("large"): "x" * 10_000})
except InputError as error:
    print(error)
"""


def test_a_full_disk_leaves_what_was_there(tmp_path):
    (tmp_path / "large").write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "large: cannot be written: File too large" in done.stdout
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"large": "old"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000


MEASURING = """
import resource, sys
from dse.accuracy.measuring.journal import Notebook
from dse.errors import InputError
most = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    notes = Notebook("part", "digest", 9, None)
    for number in range(9):
        notes.value(f"layer {number}", lambda: 1.0)
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(("room", "kept"), [(30, 0), (100, 2)])
def test_measurements_on_a_full_disk_are_kept_where_there_are_any(tmp_path, room, kept):
    done = subprocess.run([sys.executable, "-c", MEASURING, str(room)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "part: cannot be written: File too large" in done.stdout
    assert (tmp_path / "part").exists() == bool(kept)
    if kept:
        assert len(Notebook(tmp_path / "part", "digest", 9, None).known) == kept


def test_folders_made_for_what_fails_are_taken_back(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError):
        write_all({tmp_path / "a" / "b" / "file": "x", tmp_path / "a" / ("c" * 300): "x"})
    assert not list(tmp_path.iterdir())
    assert make_folder(tmp_path / "a" / "b") == [tmp_path / "a" / "b", tmp_path / "a"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        make_folder(tmp_path / "file" / "b")
    assert not list(tmp_path.rglob(f"*{HALF}"))


@pytest.mark.parametrize(
    ("bounds", "value", "said"),
    [
        (SEED, 2**32, "from 0 to 4,294,967,295"), (SEED, -1, "from 0 to"), (MAP_UPDATES, math.inf, "from 0 to 1,000,000"), (ACCURACY_DROP, 1e308, "from -1,000 to 1,000"),
        (SECONDS, math.inf, "above 0 and up to 31,536,000|above 0 up to 31,536,000"), (TRIALS, 1e20, "from 1 to 100,000"), (SECONDS, 0.0, "above 0"), (SECONDS, math.nan, "got nan"), (TRIALS, 1.5, "an integer"),
        (TRIALS, True, "an integer"), (TRIALS, int("9" * 400), "got 9999"),
    ],
)  # fmt: skip
def test_a_number_out_of_bounds_is_told_the_bound(bounds, value, said):
    with pytest.raises(InputError, match=said) as raised:
        bounds.check(value)
    assert len(sentence(raised)) < 200


def test_bounds_are_those_of_the_program():
    with pytest.raises(InputError) as raised:
        dse.explore("cifar_resnet20", seed=2**32, seconds=math.inf, trials=10**20, max_accuracy_drop=1e308, jobs=10**6)
    assert len(raised.value.problems) == 5
    network = dse.load_workload("cifar_resnet20")
    with pytest.raises(InputError, match="--map-updates"):
        dse.evaluate(network, dse.load_hardware("flex_trainer"), dse.Plan.uniform(network), map_updates=math.inf)
    for batch in (0, -1, 10**12, 2**63):
        with pytest.raises(InputError):
            network.with_batch(batch)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 20_000, "nest"), ("- " * 5000, "nested"), ("{a: " * 5000, "nested"), ("? " * 5000, "nested"), ("a: &b [*b]", "anchors"), ("a: &b 1", "anchors"),
        ("!!python/name:os.system x", "tags"), ("a: !!str 5", "tags"), ("a: 1\n---\nb: 1", "one document"), ("", "empty"), ("a: 'x", "not valid YAML"), ("a: \ud800", "not valid YAML"),
    ],
)  # fmt: skip
def test_yaml_that_nobody_means_is_refused_at_once(text, why):
    with pytest.raises(InputError, match=why) as raised:
        parse_yaml(text, "a.yaml")
    sentence(raised)


@pytest.mark.parametrize(
    "text", ["9" * 5000, "-" + "9" * 5000, "1.0e+999", "1.0e-999", "1e400", ".inf", ".nan", '"\\e[31m"', '"\\u202e"', "1_" + "0" * 1000, "." + "9" * 5000]
)
def test_numbers_and_words_of_a_yaml_file_are_sound(text):
    document = parse_yaml(f"key: {text}\n", "a.yaml")
    with pytest.raises(InputError):
        document.require_sound()
    assert not isinstance(document.value["key"], float) or math.isfinite(document.value["key"])


@given(st.recursive(st.integers(-(10**15), 10**15) | st.booleans() | st.text("ab c", max_size=5), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4)))
def test_sound_yaml_is_what_it_says(value):
    import json

    assert parse_yaml(json.dumps(value), "a.yaml").value == value


def test_depth_and_lines_are_counted():
    assert parse_yaml("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH, "a").value
    with pytest.raises(InputError, match="nested more than"):
        parse_yaml("[" * (MAX_DEPTH + 1) + "1" + "]" * (MAX_DEPTH + 1), "a")
    document = parse_yaml("a:\n  - 1\n  - b: 2\n", "a")
    assert document.line(("a", 1, "b")) == 3


def test_a_message_has_twenty_problems_and_a_count():
    error = InputError("x" * 10_000, [Problem("layers" * 1000, "wrong" * 1000, number) for number in range(20_000)])
    assert len(str(error)) < 30_000
    assert str(error).endswith("and 19,980 more")
    assert len(str(error).splitlines()) == 22
    with pytest.raises(InputError) as raised:
        dse.Plan.parse("w8a8e8" * 100_000, dse.load_workload("cifar_resnet20"))
    assert len(str(raised.value)) < 2000


@given(st.text())
def test_what_is_shown_moves_no_cursor(text):
    shown = printable(text)
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)
    shown.encode("utf-8")
    assert printable(shown) == shown
    assert "\x1b" not in str(InputError(text, [text, Problem(text, text, 1)]))


@given(st.text(), st.integers(10, 100))
def test_long_words_are_shortened(text, most):
    assert len(shortened(text, most)) == min(len(text), most)


@given(st.lists(st.lists(st.text("=+-@'\t\n,;\"ab1", max_size=6) | st.integers() | st.floats(allow_nan=False), min_size=2, max_size=2), max_size=5))
def test_cells_are_no_formulas_and_come_back(rows):
    import csv
    import io

    text = csv_text(["a", "b"], rows)
    found = list(csv.reader(io.StringIO(text, newline="")))[1:]
    for row, cells in zip(rows, found, strict=True):
        for value, cell in zip(row, cells, strict=True):
            if isinstance(value, str):
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
                assert plain_cell(cell) == value
            else:
                assert float(cell) == float(value)


def test_arrays_are_as_large_as_their_file_says(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read_arrays(path)["images"], np.arange(6.0).reshape(2, 3))
    content = path.read_bytes()
    for broken in (content[:-1], content[:100], content.replace(b"(2, 3)", b"(9, 9)"), b"PK\x03\x04", b"", b"\x93NUMPY", content[:60] + b"\xff" * 8 + content[68:]):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="is no numpy file"):
            read_arrays(path)
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled"):
        read_arrays(tmp_path / "o.npy")
    np.savez_compressed(path, zeros=np.zeros(10_000_000, np.uint8))
    with pytest.raises(ValueError, match="more than is read"):
        arrays_in(path.read_bytes(), 1_000_000)
    import gzip

    with pytest.raises(InputError, match="once it is unpacked"):
        unzipped(gzip.compress(bytes(10_000_000)), "a.gz", 1_000_000)


def test_a_shipped_name_is_found_beside_odd_things_of_that_name(places, monkeypatch):
    monkeypatch.chdir(places)
    os.mkfifo("flex_trainer")
    (places / "cifar_resnet20").mkdir()
    assert find_file("flex_trainer", "hwmodels").suffix == ".yaml"
    assert dse.load_workload("cifar_resnet20").name == "cifar_resnet20"


def test_a_tampered_table_in_the_cache_is_made_anew(tmp_path, monkeypatch):
    from dse.mapping.best.tables import cache

    monkeypatch.setenv("DSE_CACHE_DIR", str(tmp_path / "cache"))
    text = "source: x\nbatch: 2\nsamples: 2\nepochs: 1\noptimizer: sgd\nnests:\n  - {name: a, kind: fc, K: 4, C: 6}\n"
    (tmp_path / "small.yaml").write_text(text)
    small, hardware = dse.load_workload(tmp_path / "small.yaml"), dse.load_hardware("tpu_like")
    plan = dse.Plan.parse("w8a8e8", small)
    cache.forget()
    whole = dse.evaluate(small, hardware, plan).total
    files = sorted((tmp_path / "cache").iterdir())
    assert files
    generator = np.random.default_rng(0)
    for _ in range(6):
        for path in files:
            content = bytearray(path.read_bytes())
            content[generator.integers(len(content))] ^= 1 << generator.integers(8)
            path.write_bytes(content)
        cache.forget()
        assert dse.evaluate(small, hardware, plan).total.equals(whole)
    for path in files:
        path.write_bytes(files[0].read_bytes())  # A sound table under another's name.
    cache.forget()
    assert dse.evaluate(small, hardware, plan).total.equals(whole)
    cache.forget()


def test_a_word_that_is_unknown_is_refused_wherever_it_is_given(tmp_path):
    from dse.cost.mapped.explicit import best_mappings, evaluate_mapping_file, evaluate_mappings, save_best_mappings
    from dse.cost.totals.batch_sweep import batch_sweep

    network, hardware = dse.load_workload("fashion_cnn"), dse.load_hardware("tpu_like")
    plan = dse.Plan.parse("w8a8e8", network)
    (tmp_path / "best.yaml").write_text("conv1: dram[WAO] - K16\n")
    for ask in (
        lambda: dse.evaluate(network, hardware, plan, mode="tpe"),
        lambda: dse.evaluate(network, hardware, plan, mapping_objective="tpe"),
        lambda: batch_sweep(network, hardware, plan, [1], mode="tpe"),
        lambda: best_mappings(network, hardware, plan, "tpe"),
        lambda: save_best_mappings(network, hardware, plan, tmp_path / "out.yaml", "tpe"),
        lambda: evaluate_mappings(network, hardware, plan, {}, "tpe"),
        lambda: evaluate_mapping_file(network, hardware, plan, tmp_path / "best.yaml", "tpe"),
        lambda: dse.explore(network, hardware, mode="tpe"),
    ):
        with pytest.raises(InputError, match="'tpe' is unknown"):
            ask()
    assert os.listdir(tmp_path) == ["best.yaml"]


def test_what_cannot_be_removed_is_one_sentence(tmp_path):
    remove_file(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    remove_file(tmp_path / "file")
    assert not list(tmp_path.iterdir())
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", "a\0b", "a" * 5000):
        with pytest.raises(InputError, match="cannot be removed") as raised:
            remove_file(path)
        sentence(raised)


#: Who opens files past the doors, and which: their own (templates, tables of the package), a lock, a journal that grows.
PAST_THE_DOORS = {
    "dse/files.py", "dse/array_files.py", "dse/cli/terminal.py", "dse/search/loop/state.py", "dse/accuracy/measuring/journal.py", "dse/report/page/page.py",
    "dse/report/figures.py", "dse/export/crosscheck/zigzag_runner.py", "dse/mapping/best/tables/cache.py",
}  # fmt: skip
OPENERS = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "read_csv", "to_csv", "unlink", "mkdir", "makedirs", "loadtxt", "savetxt"}


def test_files_are_opened_by_the_doors_alone():
    """Whoever opens a file of a user elsewhere waits for its pipe, or shows a traceback; studies read tables of the package."""
    for path in sorted(Path(dse.__file__).parent.rglob("*.py")):
        name = path.relative_to(Path(dse.__file__).parents[1]).as_posix()
        if name in PAST_THE_DOORS or name.startswith("dse/studies/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func
                method = isinstance(called, ast.Attribute) and called.attr in OPENERS
                plain = isinstance(called, ast.Name) and called.id == "open"
                in_memory = any(isinstance(part, ast.Attribute) and part.attr in ("StringIO", "BytesIO") for part in ast.walk(node))
                assert in_memory or not (method or plain), f"{name}:{node.lineno} opens a file; see dse/files.py"
