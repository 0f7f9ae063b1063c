"""8,000 published Timeloop runs on Gemmini: every mapping is read, and the counts explain the energies."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".." / "shared" / "reference" / "timeloop_gemmini_8000.csv.gz"


@pytest.mark.skipif(not FILE.exists(), reason="reference files are not beside the repository")
def test_counts_explain_energy_with_eight_prices_per_configuration():
    spec = importlib.util.spec_from_file_location("gemmini_benchmark", ROOT / "benchmarks" / "gemmini.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    rows = pd.read_csv(FILE)
    counts = benchmark.counts_of_rows(rows)
    assert len(counts.steps) == len(rows) == 8000
    assert (counts.steps <= rows["target.cycle"].to_numpy()).all()
    assert benchmark.accesses(counts).shape[1] <= 8
    for holdout in (False, True):
        error = np.abs(benchmark.predicted_energy(rows, counts, holdout) / rows["target.energy"] - 1)
        assert np.median(error) <= 0.01
        assert np.quantile(error, 0.99) <= 0.10
