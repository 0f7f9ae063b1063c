"""``dse reproduce``: names, tables, and a page that stands alone."""

import json
import re

import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner

from dse.cli import app
from dse.errors import InputError
from dse.studies.page import page_html, views
from dse.studies.reproduce import STUDIES, rows_table, run_studies, write_studies
from dse.studies.study import Claim, Study


def study(name="one", **row):
    rows = (Claim("s", "a < b", "x", **row), Claim("s", "accuracy", "%", published=70.0))
    return Study(
        name, "Title: <more>", "source", ("found & said",), rows, (("caption", go.Figure()),), "theirs", "ours"
    )


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (Claim("s", "q", "x", 11.0, 10.0), 0.1),
        (Claim("s", "q", "x", 9.0, 10.0, 12.0), -0.1),
        (Claim("s", "q", "x", 11.0, 10.0, 12.0), 0.0),
        (Claim("s", "q", "x", 15.0, 10.0, 12.0), 0.25),
        (Claim("s", "q", "x", 9.0, 12.0, 10.0), -0.1),
        (Claim("s", "q", "x", 9.0), None),
        (Claim("s", "q", "x", None, 9.0), None),
    ],
)
def test_signed_error_is_against_the_nearer_end(row, error):
    assert row.signed_error == (None if error is None else pytest.approx(error))


def test_unknown_names_are_refused_before_anything_runs():
    with pytest.raises(InputError, match="did you mean 'adapt'"):
        run_studies(["adapd"])


def test_page_holds_everything_and_requests_nothing(tmp_path):
    page = write_studies([study(ours=2.0, published=1.0)], tmp_path / "new")
    text = page.read_text()
    assert text.count("plotly.js v") == 1
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=\"(?!data:)", text)
    assert "a &lt; b" in text
    assert "+100.0%" in text
    assert "Title: &lt;more&gt;" in text
    saved = json.loads((tmp_path / "new" / "reproduce.json").read_text())
    assert saved[0]["rows"][0]["signed_error"] == 1.0
    assert saved[0]["rows"][1]["ours"] is None


def test_rows_of_several_studies_make_one_table():
    table = rows_table([study("one", ours=2.0), study("two", ours=3.0, low=2.5, high=3.5)])
    assert table["study"].tolist() == ["one", "one", "two", "two"]
    assert table["ours"].tolist()[2] == 3.0


def test_claims_are_rows_and_the_rest_a_column_for_each_measure():
    rows = (
        Claim("a", "speed", "x", 2.0, 1.0, subject="net"),
        Claim("a", "time saved", "%", 3.0, low=2.5, high=3.5, assumed="packed", subject="net on one"),
        Claim("a", "energy saved", "%", 4.0, subject="net on one"),
        Claim("b", "time saved", "%", 5.0, subject="net on one"),
        Claim("b", "energy saved", "%", 6.0, subject="net on one"),
        Claim("b", "top-1", "%", published=70.0, subject="net on one"),
        Claim("c", "time saved", "%", assumed="too wide", subject="net on one"),
        Claim("c", "area", "mm2", 7.0),
    )
    claims, wide, other = views(Study("n", "t", "s", (), rows, (), "", ""))
    assert claims.rows == (("a", "speed, net", "x", "1.000", "2.000", "+100.0%", ""),)
    assert wide.titles == ("system", "of", "time saved (%)", "energy saved (%)", "top-1 (%)")
    assert wide.rows[0] == ("a", "net on one", "3.000 (2.500 to 3.500)", "4.000", "")
    assert wide.rows[1] == ("b", "net on one", "5.000", "6.000", "70.00 published")
    assert wide.rows[2] == ("c", "net on one", "cannot run", "", "")
    assert wide.notes == ("packed", "too wide")
    assert other.titles == ("system", "area (mm2)")


def test_no_claims_no_median():
    assert "No published figure" in page_html([study(ours=2.0)])


def test_command_writes_a_folder_and_json(tmp_path):
    result = CliRunner().invoke(app, ["reproduce", "better_schedules", "--json", "--out", str(tmp_path / "r")])
    assert result.exit_code == 0
    printed = json.loads(result.output)
    assert [item["name"] for item in printed] == ["better_schedules"]
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"reproduce.html", "reproduce.json", "rows.csv"}


def test_help_names_every_study():
    text = CliRunner().invoke(app, ["reproduce", "--help"]).output
    assert set(STUDIES) <= set(re.findall(r"\w+", text))


def test_every_study_says_what_is_theirs_and_ours():
    assert all(callable(run) and run.__doc__ for run in STUDIES.values())
