"""A limit on memory, model size or BitOps prices what evaluating a found plan prices, whatever is frozen, shared or cached."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dse
from dse.cost.steps.choices import uniform_plans
from dse.cost.tensors.memory import footprint
from dse.errors import NothingFeasible
from dse.hardware.from_file.load import hardware_from_document
from dse.precision import Plan
from dse.precision.formats import parse_format
from dse.search.allocation.allocate import solve
from dse.search.bits.held import held_tables, solve_within
from dse.search.bits.limits import limit_tables
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

HEAD = "source: test\nbatch: 2\nsamples: 2\nepochs: 1\noptimizer: {optimizer}\ninput: {{C: 4, H: 4, W: 4}}\nlayers:\n"
CHOICES = tuple(product((2, 4, 8), (2, 8)))
ERRORS = (6, 8)
FORMATS = [
    (*(parse_format(f"int{bits}") for bits in pair), [parse_format(f"int{bits}") for bits in ERRORS])
    for pair in CHOICES
]


def network(kinds, frozen, optimizer):
    """Layers one after the other, the first ones frozen."""
    lines = []
    for i, kind in enumerate(kinds):
        held = ", frozen: true" if i < frozen else ""
        lines += {
            "conv": [f"  - {{op: conv, name: n{i}, K: 6, then: [norm, relu]{held}}}"],
            "gelu": [f"  - {{op: conv, name: n{i}, K: 8, then: [gelu]{held}}}"],
            "residual": [
                f"  - {{op: residual, name: n{i}, main: [{{op: conv, name: a{i}, K: 4{held}}}], "
                f"shortcut: [{{op: conv, name: b{i}, K: 4{held}}}]}}"
            ],
            "attention": [f"  - {{op: attention, name: n{i}, heads: 1, head_dim: 4, past: 3}}"],
        }[kind]
    return network_from_document(
        parse_yaml(
            HEAD.format(optimizer=optimizer) + "\n".join([*lines, "  - {op: fc, name: fc, K: 3}\n"]), "net.yaml"
        ),
        "net",
    )


def groups_of(net):
    """Layers with MACs that read one tensor share their widths."""
    found = {}
    for index, layer in enumerate(net.mac_layers):
        found.setdefault(layer.tie or layer.name, []).append(index)
    return tuple(tuple(members) for members in found.values())


def plan_of(net, groups, choice, error):
    widths = {
        net.mac_layers[index].name: CHOICES[picked]
        for members, picked in zip(groups, choice, strict=True)
        for index in members
    }
    weight, activation = ({name: pair[place] for name, pair in widths.items()} for place in (0, 1))
    return Plan.from_bits(net, weight=weight, activation=activation, error=error)


@settings(max_examples=20, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["conv", "gelu", "residual", "attention"]), min_size=1, max_size=4),
    frozen=st.integers(0, 3),
    optimizer=st.sampled_from(["sgd", "momentum", "adamw"]),
    mode=st.sampled_from(["training", "inference"]),
    data=st.data(),
)
def test_what_a_search_limits_is_what_evaluating_says(kinds, frozen, optimizer, mode, data):
    if mode == "training":
        kinds = [kind if kind != "attention" else "conv" for kind in kinds]
    net = network(kinds, frozen, optimizer)
    groups = groups_of(net)
    held = held_tables(net, uniform_plans(net, FORMATS), groups, mode)
    tables = limit_tables(net, dse.load_hardware("tpu_like"), uniform_plans(net, FORMATS), groups, mode)
    choice = np.array(data.draw(st.lists(st.integers(0, len(CHOICES) - 1), min_size=len(groups), max_size=len(groups))))
    for e, error in enumerate(ERRORS):
        plan = plan_of(net, groups, choice, error)
        parts = footprint(net, plan, mode)
        assert held[e].peak(choice)[0] == sum(parts.values())
        size = tables["model_size"][e][np.arange(len(groups)), choice].sum()
        assert size == sum(
            layer.parameters * width for layer, width in zip(net.layers, plan.stored_bits("weight"), strict=True)
        )


@settings(max_examples=8, deadline=None)
@given(kinds=st.lists(st.sampled_from(["conv", "gelu", "residual"]), min_size=1, max_size=2), seed=st.integers(0, 99))
def test_the_best_map_within_a_memory_is_that_of_trying_them_all(kinds, seed):
    net = network(kinds, 1, "adamw")
    groups = groups_of(net)
    held = held_tables(net, uniform_plans(net, FORMATS), groups, "training")[0]
    random = np.random.default_rng(seed)
    cost, score = random.random((len(groups), len(CHOICES))), np.zeros((len(groups), len(CHOICES)))
    maps = list(product(range(len(CHOICES)), repeat=len(groups)))
    peaks = [held.peak(np.array(choice))[0] for choice in maps]
    costs = [float(cost[np.arange(len(groups)), choice].sum()) for choice in maps]
    for bound in np.quantile(peaks, [0.0, 0.1, 0.5, 1.0]):
        answer = solve_within(held, float(bound), lambda limits: solve(cost, score, limits=limits))
        assert answer.feasible
        assert held.peak(answer.choice)[0] <= bound * (1 + 1e-12)
        assert answer.cost == pytest.approx(min(c for c, p in zip(costs, peaks, strict=True) if p <= bound))
    nothing = solve_within(held, min(peaks) * 0.9, lambda limits: solve(cost, score, limits=limits))
    assert not nothing.feasible
    assert nothing.limit == "memory"


TINY = """source: two convolutions and a classifier, the first two frozen
batch: 16
samples: 10000
epochs: 2
optimizer: adam
input: {C: 3, H: 16, W: 16}
layers:
  - {op: conv, name: a, K: 64, R: 3, pad: 1, then: [relu], frozen: true}
  - {op: conv, name: b, K: 256, R: 3, stride: 2, pad: 1, then: [relu], frozen: true}
  - {op: global_pool, name: pool}
  - {op: fc, name: c, K: 10}
  - {op: loss, name: loss}
"""
PROFILE = """network: tiny_net
source: made up
method: by hand
score: by hand
prediction: {quantity: top1, baseline: 90.0, baseline_name: FP32, calibration: post-training, link: saturating}
layers:
  a: {both: {4: 1.0, 8: 0.1}}
  b: {both: {4: 2.0, 8: 0.2}}
  c: {both: {4: 4.0, 8: 0.0}}
points:
  - {name: w8, value: 89.8, both: 8}
  - {name: mixed, value: 88.0, both: [4, 4, 8]}
  - {name: w4, value: 85.0, both: 4}
error_tensor:
  source: made up
  note: made up
  baseline: 90.0
  baseline_name: FP32
  widths: {8: 89.9, 6: 89.5}
"""
FLEX = """name: small_flex
description: a composable array with a small space
source: made up
node_nm: 28
clock_hz: 500_000_000
array:
  source: made up
  axes:
    rows: {size: 8, forward: [C], backward_data: [K], backward_weight: [N, P, Q]}
    cols: {size: 8, forward: [K], backward_data: [C], backward_weight: [K]}
pe: {source: made up, family: composable, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 32}
memories:
  buffer: {source: made up, kind: sram, size_bits: {values: [262_144, 1_048_576], default: 1_048_576}, port_bits: 256, bandwidth_bits_per_cycle: 2048}
  dram: {source: made up, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 128}
"""


@pytest.fixture
def tiny(tmp_path):
    for name, text in (("tiny_net", TINY), ("tiny_profile", PROFILE)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path / "tiny_net.yaml", tmp_path / "tiny_profile.yaml"


def explored(tiny, hardware, limits=None):
    return dse.explore(
        tiny[0], hardware, profile=tiny[1], max_accuracy_drop=3.0, widths=(4, 8), strategy="exhaustive",
        limits=limits or {}, seed=0,
    )  # fmt: skip


def test_frozen_layers_have_no_optimizer_states_under_a_limit(tiny):
    """5.77 Mbit are enough: gradients, masters and states of the classifier alone."""
    hardware = hardware_from_document(parse_yaml(FLEX, "small_flex.yaml"))
    run = explored(tiny, hardware, {"memory": 5.77e6})
    assert len(run.front)
    net = dse.load_workload(tiny[0])
    for design in run.front["design"]:
        peak = dse.evaluate(net, run.hardware(design), run.plan(design)).total["peak_memory_bits"][0]
        assert peak <= 5.77e6


def test_a_search_keeps_what_the_dram_holds(tiny):
    hardware = hardware_from_document(parse_yaml(FLEX, "small_flex.yaml"))
    peaks = [
        dse.evaluate(dse.load_workload(tiny[0]), hardware, Plan.parse(text, dse.load_workload(tiny[0]))).total[
            "peak_memory_bits"
        ][0]
        for text in ("w4a4e6", "w8a8e8")
    ]
    between, below = sum(peaks) / 2, peaks[0] * 0.9
    run = explored(tiny, _with_dram(hardware, between))
    assert len(run.front)
    for design in run.front["design"]:
        total = dse.evaluate(dse.load_workload(tiny[0]), run.hardware(design), run.plan(design)).total
        assert total["feasible"][0]
        assert total["peak_memory_bits"][0] <= between
    with pytest.raises(
        NothingFeasible, match=r"dram: a step of training holds at least \d+ bits; \d+ bits are missing"
    ):
        explored(tiny, _with_dram(hardware, below))


def _with_dram(hardware, size):
    dram = replace(hardware.memories[-1], size_bits=float(size))
    return replace(hardware, memories=(*hardware.memories[:-1], dram))
