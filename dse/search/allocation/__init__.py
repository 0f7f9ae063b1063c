"""Exact allocation of formats: one choice per group of tied layers at the least cost within limits, whole fronts, and bounds.

Plain functions on arrays, of use without the rest: ``cost[i, j]`` and ``score[i, j]`` of choice j in group i.
"""

from dse.search.allocation.allocate import Allocation, Limit, exact_sum, merge_ties, solve, tie_members
from dse.search.allocation.fronts import Front, choices, exact_front_2d, exact_front_3d
from dse.search.allocation.lagrange import Relaxed, hull_front, lagrangian, relative_gap

__all__ = [
    "Allocation",
    "Front",
    "Limit",
    "Relaxed",
    "choices",
    "exact_front_2d",
    "exact_front_3d",
    "exact_sum",
    "hull_front",
    "lagrangian",
    "merge_ties",
    "relative_gap",
    "solve",
    "tie_members",
]
