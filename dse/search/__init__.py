"""Search: exact bit allocation, Optuna over hardware, Pareto fronts."""

from dse.search.explore import explore
from dse.search.outcome.results import Run
from dse.search.pareto import pareto_front

__all__ = ["Run", "explore", "pareto_front"]
