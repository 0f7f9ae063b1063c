"""Results as pages, tables and figures; reads run folders and computes no cost.

Public names: ``write_report``, ``write_figures``, ``write_tables``, ``compare_runs``, ``summary_table``, ``waterfall_table``,
``markdown_table``, ``latex_table``, ``csv_table``, ``cost_tables``.
"""

from dse.report.compare import Comparison, compare_runs
from dse.report.figures import figure_files, write_figures
from dse.report.page.page import report_file, write_report
from dse.report.tables.paper import csv_table, latex_table, markdown_table, table_file, write_tables
from dse.report.tables.runs import cost_tables, summary_table, waterfall_table

__all__ = [
    "Comparison",
    "compare_runs",
    "cost_tables",
    "csv_table",
    "figure_files",
    "latex_table",
    "markdown_table",
    "report_file",
    "summary_table",
    "table_file",
    "waterfall_table",
    "write_figures",
    "write_report",
    "write_tables",
]
