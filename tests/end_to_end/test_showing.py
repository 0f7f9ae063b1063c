"""What a name at the end of a notebook's cell shows: one line, and a small table; and keys that do not rest on it."""

from dataclasses import replace

import numpy as np
import pytest

import dse
from dse.content import content


@pytest.fixture(scope="module")
def shown():
    net = dse.load_workload("fashion_cnn")
    hardware = dse.load_hardware("flex_trainer")
    cost = dse.evaluate(net, hardware, "w8a8e8")
    return {
        "Network": net,
        "Hardware": hardware,
        "Cost": cost,
        "Schedule": dse.Schedule.cyclic(3, 8, iterations=64),
        "Profile": dse.load_profile("fashion_cnn", net),
        "Plan": dse.Plan.uniform(net),
        "System": dse.load_system("dgx_h100"),
    }


def test_everything_that_users_hold_is_one_line(shown):
    for name, thing in shown.items():
        text = repr(thing)
        assert text.startswith(f"{name}("), text
        assert "\n" not in text, text
        assert len(text) < 200, text


def test_tables_of_notebooks_hold_their_figures(shown):
    for name in ("Network", "Hardware", "Cost"):
        assert shown[name]._repr_html_().count("<tr") - 1 == {"Network": min(len(shown["Network"].layers), 20), "Hardware": 4, "Cost": 1}[name]
    assert f"{shown['Cost'].total['energy_j'][0]:.4g}" in shown["Cost"]._repr_html_()


def test_a_name_in_a_table_is_text_and_no_markup(shown):
    layer = replace(shown["Network"].layers[0], name="<script>alert(1)</script>")
    text = replace(shown["Network"], layers=(layer,), name="<b>")._repr_html_()
    assert "<script>" not in text
    assert "<b>" not in text


def test_the_package_lists_its_interface_alone():
    assert set(dir(dse)) == {*dse.__all__, "__doc__", "__version__"}


def test_content_tells_every_number():
    many = np.arange(5000.0)
    other = many.copy()
    other[2500] += 1e-9
    assert repr(many) == repr(other)
    assert content({"a": many}) != content({"a": other})
    assert content({"a": 1, "b": 2}) == content({"b": 2, "a": 1})
    assert content(("a", "b,")) != content(("a,", "b"))


def test_content_of_a_hardware_tells_what_its_line_leaves_out(shown):
    hardware = shown["Hardware"]
    other = replace(hardware, idle_w=hardware.idle_w + 0.1)
    assert repr(hardware) == repr(other)
    assert content(hardware) != content(other)
