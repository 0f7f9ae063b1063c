"""8,000 published Timeloop runs on Gemmini: every mapping is read, and the counts explain the energies."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from dse.errors import InputError
from dse.mapping.explicit.counts import TIMELOOP
from dse.mapping.explicit.simulate import simulate
from dse.mapping.explicit.text import parse_mapping
from dse.mapping.explicit.timeloop import counts_of_rows
from dse.mapping.nest import Nest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests" / "data" / "timeloop_gemmini.csv"


def test_counts_explain_energy_with_eight_prices_per_configuration():
    spec = importlib.util.spec_from_file_location("gemmini_benchmark", ROOT / "benchmarks" / "gemmini.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    rows = pd.read_csv(FILE, comment="#")
    counts, names = counts_of_rows(rows)
    assert len(counts.steps) == len(rows) == 470
    assert (counts.steps <= rows["target.cycle"].to_numpy()).all()
    features = benchmark.accesses(counts, names)
    assert features.shape[1] <= 8
    words = benchmark.accesses(counts, names, block=1)
    for holdout in (False, True):
        error = np.abs(benchmark.predicted_energy(rows, features, holdout) / rows["target.energy"] - 1)
        assert np.median(error) <= 0.0005
        assert np.quantile(error, 0.99) <= 0.01
        # Words of DRAM that are not counted in whole accesses explain less.
        error = np.abs(benchmark.predicted_energy(rows, words, holdout) / rows["target.energy"] - 1)
        assert np.quantile(error, 0.99) > 0.02


@st.composite
def lines(draw):
    """A layer and a mapping of it in Timeloop's line: any factors at any level, spatial loops of any dim, levels with any operands."""
    levels = {"L3": "WIO"}
    for name in ("L2", "L1", "L0"):
        levels[name] = "".join(draw(st.sets(st.sampled_from("WIO"))))
    bounds = dict.fromkeys("NKCPQRS", 1)
    words = []
    for name, operands in levels.items():
        loops = []
        for dim in draw(st.permutations("NKCPQRS")):
            factor = draw(st.sampled_from([1, 1, 1, 1, 2, 3]))
            if factor * np.prod([*bounds.values()]) <= 150:
                bounds[dim] *= factor
                loops.append(f"{dim}{factor}" + draw(st.sampled_from(["", "", "X" if name != "L3" else "", "Y"])))
        if operands:
            words += ["-"] * bool(words) + [f"{name}[{operands}]"]
        words += loops
    window = [draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 2)), 1]
    return " ".join(words), bounds, window


@seed(11)
@settings(max_examples=60, deadline=None)
@given(st.lists(lines(), min_size=1, max_size=5))
def test_rows_of_any_kind_are_counted_as_their_loops_run(drawn):
    columns = [f"prob.{d}" for d in "NKCPQRS"] + ["prob.Hstride", "prob.Wstride", "prob.Hdilation", "prob.Wdilation"]
    rows = pd.DataFrame([[text, *bounds.values(), *window] for text, bounds, window in drawn], columns=["mapping.mapping", *columns])
    counts, names = counts_of_rows(rows)
    for m, (text, bounds, window) in enumerate(drawn):
        n, k, c, p, q, r, s = bounds.values()
        nest = Nest((n, 1, k, c, p, q, r, s), "forward", (window[0], window[1]), (window[2], window[3]))
        mapping = parse_mapping(text)
        for level, ours in zip(mapping.levels, simulate(mapping, nest, TIMELOOP), strict=True):
            for role, expected in enumerate(ours):
                at = (m, names.index(level.name), role)
                for side in ("reads_to_child", "writes_from_child", "writes_from_parent", "reads_to_parent"):
                    assert getattr(counts, side)[at] == getattr(expected, side), (text, level.name, role, side)


def test_rows_that_cannot_be_read_are_named():
    good = {"mapping.mapping": "L1[WIO] K2 - L0[W] P2", "prob.K": 2, "prob.P": 2}
    assert counts_of_rows(pd.DataFrame([good, good]))[1] == ("L0", "L1")
    bad = [good | {"mapping.mapping": "L1[WIO] K2 Z3 - L0[W] P2"}, good | {"prob.P": 4}, good]
    with pytest.raises(InputError) as caught:
        counts_of_rows(pd.DataFrame(bad, index=[7, 8, 9]))
    assert "row 7: Z3: neither a memory" in str(caught.value)
    assert "row 8: loops: extents of P multiply to 2, the layer has 4" in str(caught.value)
    with pytest.raises(InputError, match=r"row 0\.prob\.K: expected an integer"):
        counts_of_rows(pd.DataFrame([good | {"prob.K": 0}]))
    with pytest.raises(InputError, match="disagree in the order"):
        counts_of_rows(pd.DataFrame([good, good | {"mapping.mapping": "L0[WIO] K2 - L1[W] P2"}]))
