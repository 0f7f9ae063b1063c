"""How large a network may be, how long a file may unroll, and that equal layers are looked at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dse
from dse.cost.jobs.network import network_jobs
from dse.cost.tensors.storage import storage_of
from dse.errors import InputError
from dse.precision import Plan
from dse.report.tables.network import network_tables
from dse.report.tables.terminal import MOST_ROWS, longest_rows
from dse.workload.load import network_from_document
from dse.workload.model import Layer, Network
from dse.workload.nests.bounds import MAX_BOUND, MAX_LAYERS, MAX_MACS
from dse.workload.work.statistics import network_statistics
from dse.yaml_input import parse_yaml

HEAD = "source: made up\nbatch: {batch}\nsamples: 1\nepochs: 1\noptimizer: sgd\n"


def network(text, batch=1):
    return network_from_document(parse_yaml(HEAD.format(batch=batch) + text, "net.yaml"), "net")


def refused(text, batch=1):
    with pytest.raises(InputError) as caught:
        network(text, batch)
    return str(caught.value)


def one(batch=1, **bounds):
    return Network("net", "made up", (Layer("a", "fc", **bounds),), batch, 1, 1)


@pytest.mark.parametrize(
    ("bounds", "batch"),
    [
        ({"K": 10**9, "C": 10**9}, 1),
        ({"N": 10**9, "K": 10**6, "C": 1000}, 1),
        ({"N": 1, "K": 7, "C": 10**9 + 7}, 10**6),
        ({"G": 10**9, "K": 30, "C": 30}, 1),
    ],
)
def test_dims_of_a_thousand_million_have_exact_counts_and_finite_costs(bounds, batch):
    net = one(batch, **bounds)
    macs = batch * int(np.prod([int(value) for value in bounds.values()], dtype=object))
    cost = dse.evaluate(net, "tpu_like", "w8a8", mode="inference")
    row = cost.total.iloc[0]
    assert row["macs"] == pytest.approx(macs, rel=1e-15)
    assert row["feasible"]
    assert np.isfinite(row["energy_j"])
    assert row["dram_bits"] >= 8 * bounds.get("G", 1) * bounds["K"] * bounds["C"]
    assert row["bitops"] == pytest.approx(64 * macs, rel=1e-12)
    statistics = network_statistics(net).iloc[0]
    assert (statistics["macs"], statistics["training_macs"]) == (macs, 3 * macs)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (one(3, N=10**9, K=2), "layer 'a': N is 3e+09 in a batch of 3; expected at most 2^31 - 1"),
        (one(1, K=2 * 10**9, C=2 * 10**9), "the weights has 4e+18 elements"),
        (one(1, N=10**7, K=10**6, C=10**6), "1e+19 multiply-accumulates in a batch of 1; expected at most 2^61"),
        (one(1, G=10**9, K=10**9, C=1, P=9), "output has 9e+18 elements"),
        (Network("net", "made up", 9 * (Layer("a", "fc", N=10**6, K=10**6, C=10**6),), 1, 1, 1), "9e+18 multiply-accumulates"),
        (Network("net", "made up", 9 * (Layer("e", "embedding", K=10**9, C=10**9),), 1, 1, 1), "9e+18 parameters"),
    ],
)  # fmt: skip
def test_what_integers_do_not_hold_is_refused_wherever_it_comes_from(net, message):
    for call in (net.check_sizes, lambda: net.with_batch(net.batch), lambda: dse.evaluate(net, "tpu_like", "w8a8")):
        with pytest.raises(InputError) as caught:
            call()
        assert message in str(caught.value)


def test_a_batch_is_a_positive_integer():
    for batch in (0, -3):
        with pytest.raises(InputError, match="expected an integer >= 1"):
            one(1, K=2).with_batch(batch)
    with pytest.raises(InputError, match="more than any published step has"):
        one(1, K=2).with_batch(10**10)


def test_limits_of_files_name_the_line():
    image = "input: {C: 3, H: 8, W: 8}\n"
    block = "layers: [{op: block, of: b, name: 'b{i}', count: 2000000000}]\nblocks:\n  b: {layers: [{op: relu, name: r}]}"
    too_many = f"layers (line 7): the file unrolls to more than {MAX_LAYERS:,} operations, which is the limit"
    assert too_many in refused(image + block)
    nested = "blocks:\n  b0: {layers: [{op: conv, name: c, K: 3}]}\n" + "".join(
        f"  b{i}: {{layers: [{{op: block, of: b{i - 1}, name: 'x{{i}}', count: 30}}]}}\n" for i in range(1, 9)
    )
    assert "unrolls to more than" in refused(image + nested + "layers: [{op: block, of: b8, name: y}]")
    deep = "blocks:\n  b0: {layers: [{op: conv, name: c, K: 3}]}\n" + "".join(
        f"  b{i}: {{layers: [{{op: block, of: b{i - 1}, name: x}}]}}\n" for i in range(1, 400)
    )
    assert "more than 50 deep, which is the limit" in refused(image + deep + "layers: [{op: block, of: b399, name: y}]")
    assert too_many in refused("input: {tokens: 3}\nlayers: [{op: lstm, name: l, K: 2, count: 2000000000}]")
    grown = "layers: [{op: block, of: b, name: x, arguments: {k: 1000000000}}]\nblocks: {b: {parameters: [k], layers: [{op: conv, name: c, K: k*k*k}]}}"
    assert "expected at most 2^31, got 'k*k*k' = 1e+27" in refused(image + grown)
    # 3 channels of (8 x 30,000)^2 pixels.
    flat = refused(image + "layers: [{op: upsample, name: u, stride: 30000}, {op: fc, name: f, K: 1}]")
    assert "layers[1] (line 7): C is 1.73e+11 in a batch of 1; expected at most 2^31 - 1" in flat
    assert "nests[0] (line 7): N is 2e+10 in a batch of 10" in refused("nests:\n  - {name: a, kind: fc, N: 2000000000}\n", 10)
    assert MAX_BOUND == 2**31 - 1
    assert 3 * MAX_MACS < 2**63


@settings(max_examples=15)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 3))
def test_equal_layers_cost_the_same_and_are_one_job(picks, batch):
    """Any order of four kinds of layers: the sum over layers is the sum over distinct ones times how often they stand there."""
    shapes = (
        Layer("", "fc", N=4, K=8, C=16),
        Layer("", "conv", K=8, C=4, P=6, Q=6, R=3, S=3, input_hw=(8, 8)),
        Layer("", "activation", G=8, P=6, Q=6, input_hw=(6, 6), function="relu", passes=("forward", "backward_data")),
        Layer("", "fc", N=4, G=2, K=8, C=16, experts=4),
    )
    from dataclasses import replace

    layers = tuple(replace(shapes[pick], name=f"l{place}") for place, pick in enumerate([0, *picks]))
    net = Network("net", "made up", layers, batch, 1, 1)
    assert [layers[place].name for place in net.alike] == [f"l{[0, *picks].index(pick)}" for pick in [0, *picks]]
    plan = Plan.parse("w8a4e8", net)
    work = network_jobs(net, dse.load_hardware("tpu_like"), [plan])
    of_pick = {}
    for row, (layer, pick) in enumerate((x, pick) for x, pick in zip(layers, [0, *picks], strict=True) if x.has_macs):
        job = work.job[0, row].tolist()
        assert of_pick.setdefault(pick, job) == job
        assert work.macs[row].tolist() == [layer.macs * batch] * 3 or pick == 3
    assert len(work.jobs.nests) <= 3 + 3 + 3 * 4
    table = dse.evaluate(net, "tpu_like", plan).layers.set_index(["layer", "pass"])
    for place, pick in enumerate([0, *picks]):
        first = [0, *picks].index(pick)
        for pass_ in layers[place].passes:
            a, b = table.loc[(f"l{place}", pass_)], table.loc[(f"l{first}", pass_)]
            assert a["macs"] == b["macs"]
            assert a["mac_j"] == b["mac_j"]
    assert storage_of(net) is storage_of(net)


def test_long_tables_show_the_rows_that_matter():
    layers = tuple(Layer(f"l{i}", "fc", K=2, C=1 + i % 7) for i in range(MOST_ROWS + 500))
    net = Network("net", "made up", layers, 1, 1, 1)
    table = network_statistics(net)
    kept, said = longest_rows(table, "macs")
    assert len(kept) == MOST_ROWS
    assert kept["macs"].min() >= table["macs"].drop(kept.index).max()
    assert kept.index.is_monotonic_increasing
    assert said == ", the largest 1,000 of 1,500 (--json has all)"
    assert network_tables("net", table)[1].title == f"Layers{said}"
    assert longest_rows(table.head(MOST_ROWS), "macs")[1] == ""
