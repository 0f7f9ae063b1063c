"""Settings of all tests, and the command line for those to which a process of its own is not the point."""

import contextlib
import io
import os
import signal
import sys
from dataclasses import dataclass

# Threads that wait for work sleep, here and in the programs that tests start: by default they spin, which on a machine that
# does other work too costs three times the work itself. Read when numba starts its threads, so it stands before any import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Most tests are about something else than the last half per cent of a mapping, which costs 25 ms per layer and pass to find:
# ``tests/cost/test_searched_mappings.py`` runs what is the default for users.
os.environ.setdefault("DSE_MAPPINGS", "tables")

import pytest
from hypothesis import settings

# A deadline is an assertion about time: a busy machine would fail it.
# Laws are drawn anew in every run, so that many short runs see what few long ones would.
settings.register_profile("dse", deadline=None, max_examples=50)
settings.load_profile("dse")


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def dse_here():
    """``dse WORDS`` in this process, as its entry point runs it: ``dse_here(*words, cwd=folder, code=0)``.

    A process of its own costs three seconds until it has imported what it needs; ``test_cli.py`` and ``test_terminal.py`` start
    some, the others ask what the same words do.
    """

    def run(*words, cwd, code=0):
        from dse.cli import main

        out, err = io.StringIO(), io.StringIO()
        argv, handler = sys.argv, signal.getsignal(signal.SIGINT)
        try:
            sys.argv = ["dse", *map(str, words)]
            with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
                main()
        finally:
            sys.argv = argv
            signal.signal(signal.SIGINT, handler)
        assert end.value.code == code, out.getvalue() + err.getvalue()
        assert "Traceback" not in err.getvalue()
        return Done(out.getvalue(), err.getvalue())

    return run
