"""Tables, figures, and runs side by side."""

import dataclasses
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from dse.errors import InputError
from dse.goals import knee
from dse.report import (
    compare_runs,
    cost_tables,
    csv_table,
    latex_table,
    markdown_table,
    summary_table,
    write_figures,
    write_tables,
)
from dse.report.compare import hypervolumes
from dse.report.figures import bit_map_figure, run_figures
from dse.report.quantities import format_share
from dse.report.run.data import RunData, read_run
from dse.report.tables.paper import front_cells, latex_escape
from dse.report.tables.runs import pass_table, rate_table
from dse.units import format_value


def shown(table):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.00213, "J", "2.13 mJ"), (12.5, "mm²", "12.5 mm²"), (0.9999, "s", "1.00 s"), (999.9, "s", "1.00 ks"), (0, "J", "0 J"),
     (float("nan"), "J", "unknown"), (None, "J", "unknown"), (float("inf"), "s", "infinite"), (np.float64(3e-12), "J", "3.00 pJ"),
     (1234.0, "mm²", "1234 mm²"), (-0.002, "J", "-2.00 mJ")],
)  # fmt: skip
def test_numbers_for_people(value, unit, text):
    assert format_value(value, unit) == text


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [(1, 2, "0.50x (50 % less)"), (2, 1, "2.00x (100 % more)"), (1, 1, "equal"), (0, 1, "unknown"), (1, None, "unknown"),
     (1, math.nan, "unknown"), (1, 4000, "0.00025x")],
)  # fmt: skip
def test_ratios(ours, theirs, text):
    assert format_share(ours, theirs) == text


def test_summary_names_the_designs_and_the_gains(run_folder):
    text = shown(summary_table(run_folder))
    for word in ("knee d00150", "fastest d00000", "lowest-energy d00299", "uniform 16 bit", "0.25x", "0.19x"):
        assert word in text


def test_summary_of_a_run_without_feasible_designs(build_run, tmp_path):
    assert "No feasible design was found" in shown(summary_table(build_run(tmp_path / "run", front=0, kept=5)))


def test_markdown_and_latex_have_a_row_per_design(run_folder):
    lines = markdown_table(run_folder).splitlines()
    assert lines[0].startswith("| design | Latency (s) | Energy (J) | Area (mm²)")
    assert len(lines) == 302
    assert lines[2].startswith("| d00000 | 0.05000 | 3.000 |")
    text = latex_table(run_folder)
    assert text.count(r" \\") == 301
    assert "mm$^2$" in text
    assert latex_escape("a_b & 5% {x}") == r"a\_b \& 5\% \{x\}"


def test_tables_of_an_evaluation():
    total = pd.DataFrame([{"design": 0, "plan": "w8a8e8", "latency_s": 0.12, "energy_j": 2.0, "feasible": True, "limit": ""}])
    layers = pd.DataFrame(
        [{"layer": "conv1", "pass": "forward", "latency_s": 1e-3, "energy_j": 3e-3, "bound": "dram", "mac_j": 1e-3, "dram_j": 2e-3}]
    )
    first, second = cost_tables(total, layers)
    assert "120.0 ms" in shown(first)
    text = shown(second)
    assert "conv1" in text
    assert "dram" in text
    assert "3.00 mJ" in text


def test_totals_by_pass_in_the_order_of_a_step():
    steps = [("a", "forward", 1.0), ("a", "backward_weight", 2.0), ("b", "forward", 3.0), ("b", "backward_data", 4.0)]
    rows = [
        {"design": 0, "plan": "w8", "layer": layer, "pass": name, "latency_s": 2.0, "energy_j": energy, "bitops": 8.0}
        for layer, name, energy in steps
    ]
    other = [{**row, "design": 1, "energy_j": 100.0} for row in rows]
    text = shown(pass_table(pd.DataFrame(rows + other)))
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert [row[0] for row in cells] == ["forward", "backward_data", "backward_weight"]
    assert cells[0][1:] == ["4.00 s", "4.00 J", "1.00 W", "16.0 BitOps"]


def test_hypervolume_of_a_front_known_by_hand():
    one = pd.DataFrame({"latency_s": [1.0, 2.0], "energy_j": [2.0, 1.0]})
    two = pd.DataFrame({"latency_s": [2.0], "energy_j": [2.0]})
    volumes, reference = hypervolumes([one, two, two.iloc[:0]], ["latency_s", "energy_j"])
    np.testing.assert_allclose(reference, [2.1, 2.1])
    # Two rectangles of 1.1 x 0.1 and one of 0.1 x 1.1 less their overlap of 0.1 x 0.1.
    np.testing.assert_allclose(volumes, [1.1 * 0.1 + 0.1 * 1.1 - 0.01, 0.01, 0.0])


def test_a_run_against_itself_and_against_a_worse_one(build_run, tmp_path):
    same = build_run(tmp_path / "same", front=40, kept=40)
    worse = build_run(tmp_path / "worse", front=40, kept=40, seed=0, max_accuracy_drop_pp=0.5)
    table = pd.read_csv(worse / "front.csv")
    table[["latency_s", "energy_j"]] *= 1.2
    table.to_csv(worse / "front.csv", index=False)
    result = compare_runs([same, same, worse])
    assert result.ratio[:2] == (1.0, 1.0)
    assert 0.0 < result.ratio[2] < 1.0
    assert result.differences["input"].tolist() == ["max_accuracy_drop_pp"]
    assert result.differences.iloc[0].tolist()[1:] == ["1.0", "1.0", "0.5"]
    assert result.page == tmp_path / "compare.html"
    assert "max_accuracy_drop_pp" in result.page.read_text()
    assert "ratio to the first" in shown(result.tables[0])
    assert result.remarks == ()
    energy = result.gains[result.gains["best"] == "Energy"].iloc[0]
    assert energy.tolist()[2].endswith("equal")
    assert energy.tolist()[3].endswith("1.20x (20 % more)")


def test_runs_of_different_networks_and_hardware_are_said_to_be_different(build_run, tmp_path):
    """What a thing is called stands for it; what came out of a search is no input, and no cell is a dump."""
    one = build_run(tmp_path / "one", front=3, kept=3, waterfall=[{"step": "a", "latency_s": 1.0}])
    two = build_run(tmp_path / "two", front=3, kept=3, formats=[f"int{n}" for n in range(2, 60)])
    info = json.loads((two / "run.json").read_text())
    info["workload"] |= {"name": "another", "batch": 3, "macs": 5}
    info["model_version"] = "0"
    (two / "run.json").write_text(json.dumps(info))
    result = compare_runs([one, two])
    networks, models = result.remarks
    assert "of different networks" in networks
    assert "another, batch 3" in networks
    assert "different versions of the model" in models
    found = result.differences.set_index("input")
    assert set(found.index) == {"network", "formats", "model_version"}
    assert found.loc["formats"].str.len().max() <= 90
    assert found.loc["formats"].iloc[1].endswith("characters)")


def test_what_cannot_be_compared(build_run, tmp_path):
    one = build_run(tmp_path / "one", front=3, kept=3, objectives=["latency_s"])
    two = build_run(tmp_path / "two", front=3, kept=3, objectives=["energy_j"])
    with pytest.raises(InputError, match="at least two"):
        compare_runs([one])
    with pytest.raises(InputError, match="no objective in common"):
        compare_runs([one, two])


def test_figures_have_titled_axes_with_a_prefixed_unit_that_the_numbers_are_in(run_folder):
    run = read_run(run_folder)
    figures = run_figures(run)
    assert set(figures) == {"front", "bit_map", "energy", "time"}
    front = figures["front"]
    assert front.layout.xaxis.title.text == "Latency per training step of 256 samples (ms)"
    assert front.layout.yaxis.title.text == "Energy per training step of 256 samples (J)"
    np.testing.assert_allclose(sorted(front.data[0].x), sorted(1e3 * run.front["latency_s"]))
    knee = run.layers[run.layers["design"] == run.knee()]
    title, scale = figures["energy"].layout.xaxis.title.text, {"mJ": 1e3, "J": 1.0}
    unit = title.removeprefix("Energy per training step of 256 samples (").removesuffix(")")
    assert sum(sum(bar.x) for bar in figures["energy"].data) == pytest.approx(scale[unit] * knee["energy_j"].sum(), rel=1e-2)
    assert figures["time"].data[0].y[-1] == "layers without MACs"


def test_baselines_beyond_the_accuracy_limit_are_hollow(build_run, tmp_path):
    folder = build_run(tmp_path / "run", front=9, kept=9)
    info = json.loads((folder / "run.json").read_text())
    for baseline in info["baselines"]:
        baseline["accuracy_drop_pp"] = {"uniform 8 bit": 0.2, "uniform 16 bit": 3.0}.get(baseline["name"])
    (folder / "run.json").write_text(json.dumps(info))
    marks = {trace.name: trace.marker.symbol for trace in run_figures(read_run(folder))["front"].data}
    assert not marks["uniform 8 bit"].endswith("-open")
    assert marks["uniform 16 bit, beyond limit"].endswith("-open")


def test_the_figure_of_a_schedules_bit_map_has_a_panel_for_every_phase():
    rows = [("conv1", "weight", bits, f"int{bits}", f"map {n}: 50% of the iterations") for n, bits in ((1, 4), (2, 8))]
    figure = bit_map_figure(pd.DataFrame(rows, columns=["layer", "operand", "bits", "format", "phase"]))
    assert [float(trace.z[0][0]) for trace in figure.data] == [4.0, 8.0]
    assert [note.text for note in figure.layout.annotations] == ["map 1:<br>50% of the iterations", "map 2:<br>50% of the iterations"]


def test_an_unknown_format_of_figures_is_an_input_error(run_folder):
    with pytest.raises(InputError, match="'gif' is no format of figures; known: pdf, svg, png"):
        write_figures(run_folder, "gif")


@pytest.mark.skipif(importlib.util.find_spec("kaleido") is not None, reason="kaleido is installed")
def test_without_kaleido_the_way_out_is_said(run_folder):
    with pytest.raises(InputError, match=r"pip install 'lowprec-dse\[figures\]'"):
        write_figures(run_folder, "svg")


@pytest.mark.parametrize(("form", "name", "head"), [("latex", "front.tex", r"\begin{tabular}"), ("markdown", "front.md", "| design |")])
def test_tables_are_written_into_the_run_folder(build_run, tmp_path, form, name, head):
    folder = build_run(tmp_path / "run", front=3, kept=3)
    path = write_tables(folder, form)
    assert path == folder / "tables" / name
    assert path.read_text().startswith(head)
    with pytest.raises(InputError, match="'html' is no form of tables; known: latex, markdown"):
        write_tables(folder, "html")


def test_a_paper_chooses_rows_and_columns(run_folder):
    run = read_run(run_folder)
    titles, rows = front_cells(run, ["energy_j", "hardware", "latency_s"], ["knee", "d00299"])
    assert titles[:2] == ["design", "Energy (J)"]
    assert titles[-1] == "Latency (s)"
    assert len(titles) > 3  # the hardware's parameters stand between
    assert [row[0] for row in rows] == ["knee d00150", "d00299"]
    assert rows[1][1] == format_value(run.front.set_index("design").loc["d00299", "energy_j"], digits=4)
    text = csv_table(run_folder, ["area_mm2"], ["fastest"])
    assert text.splitlines()[0] == "design,Area (mm²)"
    assert text.count("\n") == 2
    with pytest.raises(InputError, match=r"no column 'energy'.*\n.*no design 'knees' on the front; did you mean 'knee'"):
        front_cells(run, ["energy"], ["knees"])


def test_a_run_that_names_no_knee_has_that_of_a_search():
    """Runs under a given plan have no baselines; logarithms of the same figures would choose another design."""
    values = np.array([[1.0, 100.0], [1.5, 50.0], [30.0, 30.0], [100.0, 1.0]])
    front = pd.DataFrame({"design": list("abcd"), "latency_s": values[:, 0], "energy_j": values[:, 1]})
    none = pd.DataFrame()
    run = RunData(Path("run"), {}, front, front, none, none, none, none, none)
    assert (run.knee(), knee(values), knee(np.log(values), "chord")) == ("c", 2, 1)
    unknown = dataclasses.replace(run, front=front.assign(latency_s=np.nan))
    assert unknown.knee() is None


def test_rates_are_of_operations_and_samples():
    total = pd.DataFrame({"plan": ["w8a8e8"], "macs": [3e12], "latency_s": [2.0], "energy_j": [4.0]})
    cells = [list(column.cells) for column in rate_table(total, 64).columns]
    # Two operations per MAC: 6e12 in two seconds and four joules.
    assert cells[1] == ["3.00 TOPS", "1.50 TOPS/W", "32.0 samples/s", "62.5 mJ"]
