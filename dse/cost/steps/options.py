"""What a step is beside its network, hardware and plans: one record, from ``evaluate`` down to the jobs."""

from __future__ import annotations

from dataclasses import dataclass

from dse.cost.jobs.network import MODES
from dse.cost.steps.side import STOCHASTIC
from dse.errors import InputError
from dse.names import MAPPING_OBJECTIVES, OPERANDS
from dse.numbers import MAP_UPDATES
from dse.yaml_input import suggest


@dataclass(frozen=True)
class StepOptions:
    """Options of a step; :func:`dse.evaluate` says what each means.

    Attributes
    ----------
    mode
        ``training`` or ``inference``.
    mapping_objective
        One of :data:`dse.names.MAPPING_OBJECTIVES`.
    stochastic
        Operands that training rounds stochastically.
    recompute
        Whether segments run their forward pass again instead of keeping what it made.
    map_updates
        How often per step block-wise tensors find new widths.
    search_mappings
        Search on from the tables' mappings for each design alone.
    """

    mode: str = "training"
    mapping_objective: str = "edp"
    stochastic: tuple[str, ...] = STOCHASTIC
    recompute: bool = False
    map_updates: float = 0.0
    search_mappings: bool = False

    def check(self) -> None:
        """Raise InputError if an option has a value that it cannot have."""
        named = (("mode", self.mode, MODES), ("mapping_objective", self.mapping_objective, MAPPING_OBJECTIVES))
        for name, value, known in (*named, *(("stochastic", operand, OPERANDS) for operand in self.stochastic)):
            if value not in known:
                raise InputError(name, [f"'{value}' is unknown{suggest(value, known)}"])
        MAP_UPDATES.check(self.map_updates)


#: A training step as it is where nothing else is asked for.
STEP = StepOptions()
