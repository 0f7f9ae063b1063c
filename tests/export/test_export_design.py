"""A design written out and read back has the figures that the run says it has, to its last digit."""

import numpy as np
import pandas as pd
import pytest
import yaml

import dse
from dse.errors import InputError
from dse.export import export_design, load_design, write_export
from dse.report.design_text import PLACEHOLDER, design_text, design_texts, hardware_part, with_defaults
from dse.report.run.data import read_run


def last_digit(value):
    """Half a unit of the last of the 12 digits that a run folder keeps."""
    return 0.501 * 10.0 ** (np.floor(np.log10(value)) - 11)


def costed(design):
    return dse.evaluate(design.network, design.hardware, design.plan, mode=design.mode).total.iloc[0]


def test_every_design_of_the_front_is_reproduced_to_the_last_digit(run_folder, tmp_path):
    front = pd.read_csv(run_folder / "front.csv")
    assert len(front) >= 3
    for row in front.to_dict("records"):
        path = tmp_path / "design.yaml"
        write_export(export_design(run_folder, row["design"], "design"), path)
        design = load_design(path)
        total = costed(design)
        for name in ("latency_s", "energy_j", "area_mm2"):
            assert total[name] == pytest.approx(row[name], rel=0, abs=last_digit(row[name]))
        assert design.differences({name: float(total[name]) for name in design.figures if name in total}) == {}


def test_hardware_and_plan_files_alone_give_the_same_figures(run_folder, tmp_path):
    for name in ("hardware", "plan"):
        write_export(export_design(run_folder, "lowest-energy", name), tmp_path / f"{name}.yaml")
    network = dse.load_workload("imagenet_resnet")
    hardware = dse.load_hardware(tmp_path / "hardware.yaml")
    total = dse.evaluate(network, hardware, dse.Plan.load(tmp_path / "plan.yaml", network)).total.iloc[0]
    row = pd.read_csv(run_folder / "front.csv").sort_values("energy_j").iloc[0]
    for name in ("latency_s", "energy_j", "area_mm2"):
        assert total[name] == pytest.approx(row[name], rel=0, abs=last_digit(row[name]))


def test_a_role_or_a_folder_with_a_colon_names_a_design(run_folder):
    knee = read_run(run_folder).knee()
    assert load_design(f"{run_folder}:knee").name == knee
    assert load_design(f"{run_folder}:{knee}").values == load_design(f"{run_folder}:knee").values


def test_a_changed_model_is_told(run_folder):
    design = load_design(f"{run_folder}:knee")
    total = {name: float(costed(design)[name]) for name in ("latency_s", "energy_j", "area_mm2")}
    assert "to the last of 12 digits" in design.verdict(total)
    assert "energy_j was" in design.verdict({**total, "energy_j": total["energy_j"] * (1 + 1e-9)})


def test_texts_of_the_page_are_the_exported_ones(run_folder):
    run = read_run(run_folder)
    texts = design_texts(run)
    assert set(texts) == set(run.front["design"])
    for name, text in texts.items():
        assert text.replace(PLACEHOLDER, hardware_part(run)) == design_text(run, name)


def test_without_the_hardware_file_its_name_stands_in_the_text(run_folder, tmp_path):
    run = read_run(run_folder)
    away = {**run.info, "hardware": {**run.info["hardware"], "path": "gone/nowhere.yaml", "name": "nowhere"}}
    moved = type(run)(tmp_path, away, *(getattr(run, x) for x in ("front", "designs", "bits", "layers", "area", "roofline", "memory")))
    assert hardware_part(moved) == "hardware: gone/nowhere.yaml\n"


def test_defaults_go_to_the_named_numbers_only():
    given = {"name": "x", "clock_hz": {"values": [1, 2], "default": 1}, "array": {"axes": {"rows": {"size": {"default": 4}}}}}
    changed = with_defaults(given, {"clock_hz": 2, "array.rows": 8})
    assert changed["clock_hz"]["default"] == 2
    assert changed["array"]["axes"]["rows"]["size"]["default"] == 8
    assert given["clock_hz"]["default"] == 1
    with pytest.raises(InputError, match=r"(?s)2 problems.*node_nm.*memories\.no\.size_bits"):
        with_defaults(given, {"node_nm": 7, "memories.no.size_bits": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"desing": "d0"}, "unknown key; did you mean 'design'"),
        ({"values": {"array.rows": "many"}}, "expected names with numbers"),
        ({"values": {"array.rows": 31_000}}, "expected an integer from 16 to 64"),
        ({"plan": {"weight": "int99"}}, "int99"),
        ({"workload": "imagenet_resnett"}, "did you mean 'imagenet_resnet'"),
    ],
)
def test_problems_of_a_design_file(run_folder, tmp_path, change, message):
    value = yaml.safe_load(design_text(read_run(run_folder), "knee"))
    path = tmp_path / "design.yaml"
    path.write_text(yaml.safe_dump({**value, **change}, sort_keys=False))
    with pytest.raises(InputError, match=message):
        load_design(path)


def test_what_is_missing_is_named(run_folder, tmp_path):
    path = tmp_path / "design.yaml"
    path.write_text("design: d0\n")
    with pytest.raises(InputError, match=r"(?s)2 problems.*workload.*hardware"):
        load_design(path)
    with pytest.raises(InputError, match="neither a file nor"):
        load_design("nowhere:d0")
    with pytest.raises(InputError, match="no such design"):
        export_design(run_folder, "d999", "json")
    with pytest.raises(InputError, match="is no target; did you mean 'json'"):
        export_design(run_folder, "knee", "jason")
