"""Search: exact bit allocation, Optuna over hardware, Pareto fronts."""

from dse.search.explore import explore
from dse.search.pareto import pareto_front
from dse.search.results import Run

__all__ = ["Run", "explore", "pareto_front"]
