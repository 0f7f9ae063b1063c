"""Closed forms of a systolic array's cycles, as SCALE-Sim counts them (Samajdar et al., ISPASS 2020).

An array of R rows and C columns works on a product of an (M, K) and a (K, N) matrix in folds: the stationary operand is
loaded, the other streams through, the results leave. All folds are full, edges included.

=================  =======================================================
weight stationary  ceil(K / R) ceil(N / C) (2 R + C + M - 2) - 1
output stationary  ceil(M / R) ceil(N / C) (K + R + C - 2) - 1
input stationary   ceil(K / R) ceil(M / C) (2 R + C + N - 2) - 1
=================  =======================================================

For output stationary the drain of a fold overlaps with the next.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from dse.types import Ints

Dataflow = Literal["weight_stationary", "output_stationary", "input_stationary"]


def systolic_cycles(
    dataflow: Dataflow, m: ArrayLike, n: ArrayLike, k: ArrayLike, rows: ArrayLike, columns: ArrayLike
) -> Ints:
    """Cycles of a matrix product of (m, k) by (k, n) on an array; all arguments broadcast."""
    m_, n_, k_, rows_, columns_ = (np.asarray(x, dtype=np.int64) for x in (m, n, k, rows, columns))
    if dataflow == "output_stationary":
        folds, fold = -(-m_ // rows_) * -(-n_ // columns_), k_ + rows_ + columns_ - 2
    elif dataflow == "weight_stationary":
        folds, fold = -(-k_ // rows_) * -(-n_ // columns_), 2 * rows_ + columns_ + m_ - 2
    else:
        folds, fold = -(-k_ // rows_) * -(-m_ // columns_), 2 * rows_ + columns_ + n_ - 2
    return np.asarray(folds * fold - 1)
