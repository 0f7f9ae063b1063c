"""Every target takes a design of every kind of run, or says in one error why its form has no words for it."""

import json

import pandas as pd
import pytest
import yaml

import dse
from dse.errors import InputError
from dse.export import export_design, load_design
from dse.export.targets import TARGETS, write_export
from dse.report.run.data import read_run

LAYERS = ["first", "second", "third", "last"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_takes_every_kind_of_run(runs_of_every_kind, target):
    for kind, folder in runs_of_every_kind.items():
        if kind == "two networks" and target not in ("design", "hardware"):
            # Their designs have a plan for each network; a file of one plan has none of both.
            with pytest.raises(InputError, match=r"holds the plans of (tiny, other|other, tiny)"):
                export_design(folder, "knee", target)
            continue
        files = export_design(folder, "knee", target)
        assert files, kind
        assert all(files.values()), kind
        for name, content in files.items():
            if name.endswith(".json"):
                assert json.loads(content), kind
            elif name.endswith(".yaml") and target not in ("accelforge", "timeloop", "zigzag"):
                assert yaml.safe_load(content), kind


def test_bit_maps_name_the_layers_and_only_the_operands_that_the_mode_has(runs_of_every_kind):
    for kind, folder in runs_of_every_kind.items():
        if kind == "two networks":
            continue
        training = read_run(folder).info["mode"] == "training"
        found = json.loads(export_design(folder, "knee", "json").popitem()[1])
        assert list(found["layers"]) == LAYERS, kind
        assert all(("error" in entry) == training for entry in found["layers"].values()), kind
        brevitas = json.loads(export_design(folder, "knee", "brevitas").popitem()[1])
        assert list(brevitas) == LAYERS, kind
        assert all(("error" in entry) == training for entry in brevitas.values()), kind


def test_designs_of_every_kind_are_evaluated_again(runs_of_every_kind, tmp_path):
    for kind, folder in runs_of_every_kind.items():
        path = tmp_path / "design.yaml"
        write_export(export_design(folder, "knee", "design"), path)
        for name in ("tiny", "other") if kind == "two networks" else (None,):
            design = load_design(path, name and str(folder.parent / f"{name}.yaml"))
            total = dse.evaluate(design.network, design.hardware, design.plan, mode=design.mode).total.iloc[0]
            assert total["feasible"], kind
            assert design.differences({name: float(total[name]) for name in design.figures if name in total}) == {}, kind
            assert ("latency_s" in design.figures) == (kind not in ("two networks", "training with a schedule")), kind


def test_hardware_alone_is_searched_under_a_plan(runs_of_every_kind):
    """`--plan`: every design has that plan, nothing is said of accuracy, and its figures are those of evaluating it."""
    for kind, label in (("training under a plan", "w8a8e8"), ("inference under a plan", "w4a8")):
        run = read_run(runs_of_every_kind[kind])
        assert "accuracy_drop_pp" not in run.front or run.front["accuracy_drop_pp"].isna().all()
        assert any(f"The plan is given ({label})" in note for note in run.info["notes"])
        assert run.info["objectives"] == ["latency_s", "energy_j", "area_mm2"]
        bits = pd.read_csv(run.folder / "bits.csv")
        widths = bits.groupby("operand")["bits"].unique().map(list).to_dict()
        assert (widths["weight"], widths["activation"]) == ([int(label[1])], [int(label[3])])
