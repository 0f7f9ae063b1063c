"""Designs for other programs: as files that ``dse evaluate`` reads again, bit configurations, and inputs of other cost models.

Public names: ``export_design``, ``write_export``, ``TARGETS``, ``Design``, ``load_design``.
"""

from dse.export.design import Design, load_design
from dse.export.targets import TARGETS, export_design, write_export

__all__ = ["TARGETS", "Design", "export_design", "load_design", "write_export"]
