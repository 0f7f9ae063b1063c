"""How well counts explain the energies of published Timeloop runs on Gemmini: `python benchmarks/gemmini.py FILE`.

FILE is a table (csv or csv.gz) with the layer (`prob.*`), the configuration (`arch.*`), the mapping in Timeloop's one line
(`mapping.mapping`), `target.cycle` and `target.energy`. Energy is linear in the counts, so that for each configuration at
most eight prices are fitted (nonnegative least squares of the relative error) and the error that is left is printed by kind
of layer. With `--holdout` prices are fitted on one half of the rows and judged on the other. DRAM moves blocks of 64 words
(`block_size` of the data set's own dataset/hw/gemmini/arch/arch.yaml); `--block-words 1` counts words.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from dse.mapping.explicit.counts import Counts, counts_in_blocks
from dse.mapping.explicit.timeloop import counts_of_rows

#: Levels from the inside to the outside: weight register, accumulator, scratchpad, DRAM.
LEVELS = ("L0", "L1", "L2", "L3")
#: Words of 8 bits in an access of DRAM: `block_size` in dataset/hw/gemmini/arch/arch.yaml of ucb-bar/dosa.
BLOCK_WORDS = 64


def accesses(counts: Counts, names: tuple[str, ...] = LEVELS, block: int = BLOCK_WORDS) -> NDArray[np.float64]:
    """(row, 8) accesses with one price each; ``names`` are those of the levels of ``counts``, ``block`` the words of an access of
    DRAM."""
    counts = counts_in_blocks(counts, [block if name == LEVELS[-1] else 1 for name in names])
    down, up, fill = (
        np.stack(
            [side[:, names.index(level)] if level in names else np.zeros_like(side[:, 0]) for level in LEVELS], axis=1
        )
        for side in (counts.reads_to_child, counts.writes_from_child, counts.writes_from_parent)
    )
    columns = [
        down[:, 0, 0],  # weight register reads: one per MAC, so that this price holds the MAC too
        fill[:, 0, 0],  # weight register writes
        down[:, 1, 2],  # accumulator reads
        up[:, 1, 2],  # accumulator writes
        down[:, 2, 0] + down[:, 2, 1],  # scratchpad reads
        fill[:, 2, 0] + fill[:, 2, 1],  # scratchpad writes
        down[:, 3].sum(axis=1),  # DRAM reads
        up[:, 3, 2],  # DRAM writes
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def predicted_energy(rows: pd.DataFrame, features: NDArray[np.float64], holdout: bool = False) -> NDArray[np.float64]:
    """(row,) energy from prices fitted per configuration; with `holdout` each half is judged by the other's prices."""
    energy = rows["target.energy"].to_numpy()
    arch = [c for c in rows.columns if c.startswith("arch.")]
    configuration = rows.groupby(arch, sort=False).ngroup().to_numpy()
    predicted = np.zeros(len(rows))
    for number in range(configuration.max() + 1):
        members = np.flatnonzero(configuration == number)
        halves = [(members[::2], members[1::2]), (members[1::2], members[::2])] if holdout else [(members, members)]
        for fitted, judged in halves:
            relative = features[fitted] / energy[fitted, None]
            scale = np.maximum(relative.max(axis=0, initial=0.0), 1e-300)
            prices, _ = nnls(relative / scale, np.ones(len(fitted)), maxiter=1000)
            predicted[judged] = features[judged] @ (prices / scale)
    return predicted


def layer_kind(rows: pd.DataFrame) -> pd.Series:
    """Fully connected, pointwise, or the size and stride of the filter."""
    single = (rows["prob.P"] == 1) & (rows["prob.Q"] == 1)
    kind = rows["prob.R"].astype(str) + "x" + rows["prob.S"].astype(str) + " stride " + rows["prob.Hstride"].astype(str)
    return kind.where(~(single & (rows["prob.R"] == 1)), "fully connected")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--holdout", action="store_true")
    parser.add_argument("--block-words", type=int, default=BLOCK_WORDS, help="words in an access of DRAM")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    arguments = parser.parse_args()
    rows = pd.read_csv(arguments.file)
    start = time.perf_counter()
    counts, names = counts_of_rows(rows)
    seconds = time.perf_counter() - start
    features = accesses(counts, names, arguments.block_words)
    error = abs(predicted_energy(rows, features, arguments.holdout) / rows["target.energy"] - 1)
    faster = int((counts.steps > rows["target.cycle"]).sum())
    print(
        f"{len(rows)} mappings parsed and counted in {seconds:.2f} s; {faster} have more compute cycles than Timeloop"
    )
    kinds = layer_kind(rows)
    lines = [("layer kind", "rows", "median", "90 %", "99 %", "largest")]
    for kind in [*sorted(kinds.unique()), "all"]:
        e = error if kind == "all" else error[kinds == kind]
        lines.append((kind, f"{len(e)}", *(f"{np.quantile(e, q):.3%}" for q in (0.5, 0.9, 0.99, 1))))
    print("relative error of energy")
    for number, line in enumerate(lines):
        if arguments.markdown:
            print(f"| {' | '.join(line)} |" + ("\n|" + "---|" * len(line) if number == 0 else ""))
        else:
            print(f"{line[0]:<18}" + "".join(f"{cell:>9}" for cell in line[1:]))


if __name__ == "__main__":
    main()
