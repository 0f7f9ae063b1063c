"""Loop nests on a memory hierarchy: explicit mappings with counts and cycles, fused schedules, and the best mapping of a layer.

Public names are those of explicit mappings; the search for the best mapping is in :mod:`dse.mapping.best`.
"""

from dse.mapping.explicit.counts import ACCELFORGE, DEFAULT, ENGINE, TIMELOOP, ZIGZAG, Conventions, Counts, counts_of
from dse.mapping.explicit.mapping import Level, Loop, Mapping, check_mapping
from dse.mapping.explicit.simulate import simulate
from dse.mapping.explicit.text import format_mapping, load_mapping, parse_mapping
from dse.mapping.explicit.timeloop import counts_of_rows
from dse.mapping.explicit.timing import Port, PortedMemory, ported_cycles, simple_cycles, transfers, word_counts
from dse.mapping.fused.counts import ArrayOf, buffer_elements, fused_counts
from dse.mapping.fused.pipeline import FusedMachine, fused_time
from dse.mapping.fused.schedule import FusedSchedule, Stage, load_fused
from dse.mapping.fused.simulate import simulate_fused
from dse.mapping.nest import Nest

__all__ = [
    "ACCELFORGE",
    "DEFAULT",
    "ENGINE",
    "TIMELOOP",
    "ZIGZAG",
    "ArrayOf",
    "Conventions",
    "Counts",
    "FusedMachine",
    "FusedSchedule",
    "Level",
    "Loop",
    "Mapping",
    "Nest",
    "Port",
    "PortedMemory",
    "Stage",
    "buffer_elements",
    "check_mapping",
    "counts_of",
    "counts_of_rows",
    "format_mapping",
    "fused_counts",
    "fused_time",
    "load_fused",
    "load_mapping",
    "parse_mapping",
    "ported_cycles",
    "simple_cycles",
    "simulate",
    "simulate_fused",
    "transfers",
    "word_counts",
]
