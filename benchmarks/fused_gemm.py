"""Traffic and cycles of two fused products against an accelerator's RTL: `python benchmarks/fused_gemm.py FILE`.

FILE is a table (csv) of TileFlow's validation (Zheng et al., MICRO 2023): E = (A B) D with A of M x K, B of K x L and D of L x N,
for each row the sizes, the tiles and what the RTL counted: ``rtl_cycles`` and the bits that moved.

No weight or rate is fitted. The machine is read off the columns: words of 16 bits; DRAM reads and writes on channels of their own
of 4 words per cycle (the traffic over the cycles of the slowest rows); 16 x 16 weights held still and 32 words per cycle between
the buffer and an array (the traffic inside); 6 cycles per request and 4 arrays that share the first product's output channels, so
that the second one's sums go from array to array (differences between rows that differ in one tile). Of the steps of the first
product two may wait on the chip beside the one that is computed; `--waiting 1` gives every tensor a plain double buffer.

Ends with one JSON line; errors are signed, (ours - RTL) / RTL.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from dse.mapping.fused.counts import ArrayOf, FusedCounts, fused_counts
from dse.mapping.fused.pipeline import FusedMachine, fused_time
from dse.mapping.fused.schedule import FusedSchedule, Stage
from dse.mapping.nest import Nest

WORD_BITS = 16
ARRAY = ArrayOf(16, 16)
MACHINE = FusedMachine(array=ARRAY, arrays=4, dram_read=4, dram_write=4, latency_cycles=6, port=32)
TRAFFIC = ("mem_to_buf", "buf_to_mem", "buf_to_reg", "reg_to_buf")


def schedule_of(row: pd.Series, waiting: int = 2) -> FusedSchedule:
    """The fused schedule of a row; the micro tiles of L and N are whole, those of M are the tile and those of K the steps."""
    m, l, k, n = (int(row[name]) for name in ("M1", "N1", "K1", "N2"))
    first = Stage(
        "first", Nest((1, 1, l, k, m, 1, 1, 1)), step=int(row["micro_K1"]), waiting=waiting, arrays=MACHINE.arrays
    )
    second = Stage("second", Nest((1, 1, n, l, m, 1, 1, 1)), step=int(row["micro_K2"]))
    tile = min(int(row["micro_M1"]), m)
    return FusedSchedule("two products", (first, second), (1, tile, 1), cached=(False, False), input_hw=(m, 1))


def traffic_bits(counts: FusedCounts) -> tuple[int, ...]:
    """Bits in the order of :data:`TRAFFIC`."""
    moved = (counts.dram_reads, counts.dram_writes, counts.array_reads, counts.array_writes)
    return tuple(WORD_BITS * elements for elements in moved)


def runs_here(row: pd.Series) -> bool:
    """Whether a row is two products that meet and whose inner tiles are whole."""
    chained = row["M1"] == row["M2"] and row["N1"] == row["K2"] and row["micro_M1"] == row["micro_M2"]
    return bool(chained and row["micro_N1"] >= row["N1"] and row["micro_N2"] >= row["N2"])


def compare(rows: pd.DataFrame, waiting: int = 2) -> pd.DataFrame:
    """The rows that are modelled with our cycles, their signed error, and whether all four traffics are exact."""
    rows = rows[rows.apply(runs_here, axis=1)].reset_index(drop=True)
    plans = [schedule_of(row, waiting) for _, row in rows.iterrows()]
    times = [fused_time(plan, MACHINE) for plan in plans]
    ours = [traffic_bits(fused_counts(plan, ARRAY)) for plan in plans]
    published = rows[list(TRAFFIC)].to_numpy()
    return rows.assign(
        cycles=[time.total for time in times],
        bound=[time.bound for time in times],
        error=[time.total for time in times] / rows["rtl_cycles"] - 1,
        exact=(np.array(ours).reshape(-1, len(TRAFFIC)) == published).all(axis=1),
    )


def summary(table: pd.DataFrame, rows: int) -> dict[str, object]:
    """The JSON line."""

    def errors(part: pd.DataFrame) -> dict[str, float]:
        size = part["error"].abs()
        worst = float(part["error"].iloc[int(size.to_numpy().argmax())])
        return {
            "rows": len(part),
            "median_abs": float(size.median()),
            "mean_abs": float(size.mean()),
            "worst": worst,
            "bias": float(part["error"].mean()),
        }

    if table.empty:
        return {"rows": 0, "skipped": rows}
    by = {f"micro_M {size}": errors(part) for size, part in table.groupby("micro_M1")}
    return {**errors(table), "skipped": rows - len(table), "traffic_exact": bool(table["exact"].all()), "by": by}


def main() -> None:
    """Print the rows that are furthest off, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--waiting", type=int, default=2)
    arguments = parser.parse_args()
    rows = pd.read_csv(arguments.file, comment="#")
    table = compare(rows, arguments.waiting)
    columns = ["M1", "N1", "K1", "N2", "micro_M1", "micro_K1", "micro_K2", "rtl_cycles", "cycles", "bound", "error"]
    furthest = table.reindex(table["error"].abs().sort_values(ascending=False).index).head(8)
    print(furthest[columns].to_string(index=False, formatters={"error": "{:+.2%}".format}))
    print(json.dumps(summary(table, len(rows))))


if __name__ == "__main__":
    main()
