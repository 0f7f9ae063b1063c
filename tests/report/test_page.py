"""The page as a file: what it says, what it holds, and what it never does."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from dse.errors import InputError
from dse.report import write_report


class Text(HTMLParser):
    """Text outside scripts and styles, and the names of all elements."""

    def __init__(self):
        super().__init__()
        self.text, self.tags, self.inside, self.addresses = [], [], "", []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside = tag if tag in ("script", "style") else ""
        self.addresses += [value for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if not self.inside:
            self.text.append(data)


def parsed(path):
    reader = Text()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def data_of(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)[1])


def test_sections_stand_in_order(run_folder):
    heads = re.findall(r"<h2[^>]*>(.*?)</h2>", write_report(run_folder).read_text(encoding="utf-8"))
    assert heads == ["What was run", "Gain over the baselines", "Trade-offs", "One design", "Designs", "Validation",
                     "What the model leaves out", "Assumptions"]  # fmt: skip


def test_the_gain_is_a_ratio_against_the_baseline_on_the_same_hardware(run_folder):
    text = " ".join(parsed(write_report(run_folder)).text)
    assert "takes 0.50x the time (50 % less) and 0.38x the energy (62 % less) of uniform 8 bit" in text


def test_the_validation_shows_signed_errors(run_folder):
    assert "-11.1%" in " ".join(parsed(write_report(run_folder)).text)


def test_tables_that_are_cut_short_leave_a_page(build_run, tmp_path):
    folder = build_run(tmp_path / "run", front=4, kept=6)
    for name in ("front.csv", "designs.csv", "layers.csv", "bits.csv", "area.csv"):
        path = folder / name
        whole = path.read_text()
        path.write_text(whole.splitlines()[0] + "\n")
        assert write_report(folder).stat().st_size > 1000
        path.write_text(whole)


def test_nothing_is_fetched_from_anywhere(run_folder):
    page = parsed(write_report(run_folder))
    assert set(page.addresses) == {"data:,", "#front"}
    assert "link" in page.tags
    assert page.tags.count("script") == 3
    text = write_report(run_folder).read_text()
    assert text.count("plotly.js v") == 1
    assert "@import" not in text.split("</style>")[0]


def test_a_report_of_two_thousand_designs_is_at_most_8_megabytes(build_run, tmp_path):
    path = write_report(build_run(tmp_path / "run", front=2000, kept=2000))
    assert path.stat().st_size <= 8_000_000
    assert data_of(path)["detail"]["of"] == 2000


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--", "a\u2028b"])
def test_text_from_files_stays_text(build_run, tmp_path, text):
    folder = build_run(tmp_path / "run", front=3, kept=3, command=text, left_out=[text], notes=[text])
    for name in ("front.csv", "designs.csv", "bits.csv", "layers.csv", "area.csv"):
        table = pd.read_csv(folder / name)
        table["design"] = table["design"].replace("d00001", text)
        if "layer" in table:
            table["layer"] = table["layer"].replace("fc", text)
        table.to_csv(folder / name, index=False)
    page = parsed(write_report(folder))
    assert page.tags.count("script") == 3
    assert "img" not in page.tags
    assert text in "".join(page.text)
    assert text in data_of(folder / "report.html")["designs"]


@pytest.mark.parametrize("missing", [("designs.csv",), ("bits.csv",), ("layers.csv",), ("area.csv",), ("plans",),
                                     ("designs.csv", "bits.csv", "layers.csv", "area.csv", "plans")])  # fmt: skip
def test_optional_files_may_be_missing(build_run, tmp_path, missing):
    folder = build_run(tmp_path / "run", front=4, kept=9)
    for name in missing:
        (folder / name).rename(tmp_path / f"away-{name}")
    data = data_of(write_report(folder))
    assert len(data["front"]) == 4
    for name, key in (("bits.csv", "bits"), ("layers.csv", "detail"), ("area.csv", "area"), ("plans", "plans")):
        assert bool(data[key]) == (name not in missing)


def test_a_run_json_with_almost_nothing_in_it(build_run, tmp_path):
    folder = build_run(tmp_path / "run", front=4, kept=4)
    (folder / "run.json").write_text("{}")
    text = " ".join(parsed(write_report(folder)).text)
    assert "4 non-dominated designs." in text
    assert "no validation table" in text


def test_no_feasible_design(build_run, tmp_path):
    folder = build_run(tmp_path / "run", front=0, kept=20)
    assert "No feasible design was found" in " ".join(parsed(write_report(folder)).text)


def test_energy_and_time_of_the_layers_add_up(run_folder):
    detail = data_of(write_report(run_folder))["detail"]
    cube = np.frombuffer(base64.b64decode(detail["numbers"]), "<f4").reshape(
        len(detail["designs"]), len(detail["layers"]), len(detail["passes"]), len(detail["values"])
    )
    layers = pd.read_csv(run_folder / "layers.csv")
    energy = layers.groupby("design", sort=False)[["latency_s", "mac_j", "dram_j"]].sum()
    for name in energy.columns:
        ours = cube[..., detail["values"].index(name)].sum(axis=(1, 2))
        np.testing.assert_allclose(ours, energy[name].to_numpy()[: len(ours)], rtol=1e-5)
    assert "energy_j" not in detail["values"]


def test_problems_of_a_folder(build_run, tmp_path):
    with pytest.raises(InputError, match=r"(?s)2 problems.*run\.json.*front\.csv"):
        write_report(tmp_path)
    folder = build_run(tmp_path / "run", front=3, kept=3)
    table = pd.read_csv(folder / "front.csv").drop(columns=["latency_s", "energy_j"])
    table.to_csv(folder / "front.csv", index=False)
    with pytest.raises(InputError, match=r"(?s)'latency_s' is missing.*'energy_j' is missing"):
        write_report(folder)
    (folder / "run.json").write_text("{")
    with pytest.raises(InputError, match="is no JSON that can be read"):
        write_report(folder)
    assert not (folder / "report.html").exists()
