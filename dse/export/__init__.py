"""Designs for other programs: as files that ``dse evaluate`` reads again, bit configurations, and inputs of other cost models.

Public names: ``export_design``, ``write_export``, ``load_design``, ``Design``; ``TARGETS`` and what adds to them.
"""

from dse.export.design import Design, load_design
from dse.export.targets import TARGETS, Target, export_design, of_design, register, write_export

__all__ = ["TARGETS", "Design", "Target", "export_design", "load_design", "of_design", "register", "write_export"]
