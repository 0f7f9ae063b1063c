"""Settings of all tests."""

import os

# Threads that wait for work sleep, here and in the programs that tests start: by default they spin, which on a machine that
# does other work too costs three times the work itself. Read when numba starts its threads, so it stands before any import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from hypothesis import settings

# A deadline is an assertion about time: a busy machine would fail it.
settings.register_profile("dse", deadline=None)
settings.load_profile("dse")
