"""The command line at a terminal that is closed, full, narrow-minded or in a hurry."""

import io
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from dse.cli.terminal import fitted

DSE = [sys.executable, "-m", "dse"]
NESTS = """source: made up
batch: 1
samples: 1
epochs: 1
optimizer: sgd
nests:
  - {name: "[red]a[/red] [/x] :smile:", kind: fc, K: 4, C: 4}
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.yaml").write_text(NESTS)
    return tmp_path


def run(*arguments, cwd, code=0, **options):
    options = {"stdout": subprocess.PIPE} | options
    done = subprocess.run([*DSE, *arguments], cwd=cwd, stderr=subprocess.PIPE, timeout=120, check=False, **options)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Aborted" not in done.stderr
    return done


def test_names_are_shown_as_they_are(dse_here, net):
    assert "[red]a[/red] [/x] :smile:" in dse_here("show", "net.yaml", "--all", cwd=net).stdout


def test_a_reader_that_goes_away_is_no_failure(net):
    reading, writing = os.pipe()
    os.close(reading)
    run("show", "net.yaml", cwd=net, stdout=writing)
    os.close(writing)


def test_a_full_standard_output_is_said(net):
    with open("/dev/full", "wb") as full:
        assert b"standard output: cannot be written" in run("show", "net.yaml", "--json", cwd=net, code=2, stdout=full).stderr


def test_a_closed_standard_output_is_no_failure(net):
    run("show", "net.yaml", cwd=net, preexec_fn=lambda: os.close(1))
    run("show", "missing.yaml", cwd=net, code=2, preexec_fn=lambda: (os.close(1), os.close(0)))


def test_any_encoding_and_any_width_will_do(net):
    (net / "é.yaml").write_text(NESTS.replace(":smile:", "日本"))
    environment = {"PYTHONIOENCODING": "ascii", "COLUMNS": "1", "TERM": "\x1b[31m", "PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    assert b"\\xe9" in run("show", "é.yaml", "--picture", "é.html", cwd=net, env=environment).stdout + run("show", "é", cwd=net, code=2, env=environment).stderr


def test_control_characters_never_reach_the_terminal(dse_here, net):
    for arguments in (["show", "\x1b[31mred.yaml"], ["show", "--\x1b[2J"], ["\x07"], ["show", "net.yaml", "--picture", "\x1b/x"], ["evaluate", "net.yaml", "--plan", "\x1b[31m"]):
        done = dse_here(*arguments, cwd=net, code=2)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\x07" not in done.stdout + done.stderr


EARLY = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Hurry(MetaPathFinder):
    # Ctrl-C while the module is being imported.
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

module = sys.argv.pop(1)
sys.meta_path.insert(0, Hurry())
from dse.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["dse.cli", "dse.cost", "numba"])
def test_ctrl_c_in_the_first_moments_says_nothing_much(net, module):
    command = [sys.executable, "-c", EARLY, module, "evaluate", "net.yaml"]
    done = subprocess.run(command, cwd=net, capture_output=True, timeout=120, check=False)
    assert done.returncode == 130
    assert done.stdout + done.stderr in (b"", b"stopped\n")


WORD = st.text("abcdefgh0123456789.", min_size=1, max_size=18)


@given(st.lists(st.lists(st.lists(WORD, max_size=3).map(" ".join), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(40, 160))
@settings(max_examples=30, deadline=None)
def test_no_table_breaks_a_word_or_loses_one(rows, width):
    screen = Console(width=width, file=io.StringIO(), color_system=None)
    table = Table("first", "second column", "the third one")
    for row in rows:
        table.add_row(*row)
    screen.print(fitted(table, screen))
    shown = screen.file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    words = Counter(word for row in rows for cell in row for word in cell.split())
    assert not words - Counter(re.findall(r"[a-h0-9.]+", shown))


@pytest.mark.long
def test_tables_for_a_pipe_are_as_wide_as_columns_says(net):
    for columns, widest in (("60", 60), ("", 160), ("nonsense", 160), ("1", 40)):
        environment = {"COLUMNS": columns, "PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        lines = run("list", cwd=net, env=environment).stdout.decode().splitlines()
        drawn = [len(line) for line in lines if line.startswith(("┏", "┌"))]
        assert drawn
        assert max(drawn) <= widest, columns
