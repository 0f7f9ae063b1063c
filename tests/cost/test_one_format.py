"""A tensor is stored in the format that its readers want: what its writer writes, copies for several wishes, wide results."""

from itertools import product

import numpy as np
import pytest

import dse
from dse.cost.steps.choices import choice_costs
from dse.cost.tensors.copies import copies_notes, copies_of
from dse.cost.tensors.memory import footprint
from dse.hardware.arrays import hardware_arrays
from dse.precision import Plan
from dse.search.bits.problem import tie_groups
from dse.workload.model import Layer, Network

HARDWARE = dse.load_hardware("flex_trainer")
#: Three layers in a row, as in inference: what one writes the next one reads.
CHAIN = Network(
    "chain",
    "made up",
    (
        Layer("a", "fc", N=4, K=48, C=32, reads=("",)),
        Layer("b", "fc", N=4, K=24, C=48, reads=("a",)),
        Layer("c", "fc", N=4, K=8, C=24, reads=("b",)),
    ),
    batch=2,
    samples=2,
    epochs=1,
)
#: Two layers that read what a third one wrote.
FORK = Network(
    "fork",
    "made up",
    (
        Layer("stem", "fc", N=4, K=48, C=32, reads=("",)),
        Layer("left", "fc", N=4, K=24, C=48, reads=("stem",)),
        Layer("right", "fc", N=4, K=24, C=48, reads=("stem",)),
        Layer("sum", "add", G=24, P=4, input_hw=(4, 1), reads=("left",), reads_second=("right",)),
    ),
    batch=2,
    samples=2,
    epochs=1,
)


def plan(network, activation, **formats):
    names = [layer.name for layer in network.mac_layers]
    return Plan.from_formats(
        network,
        {"weight": "int8", "error": "int8", "activation": dict(zip(names, activation, strict=True)), **formats},
    )


def rows(network, given, quantity="dram_bits", mode="inference"):
    return dse.evaluate(network, HARDWARE, given, mode=mode).layers.set_index(["layer", "pass"])[quantity]


def test_a_result_is_written_as_its_reader_wants_it():
    same, narrow = plan(CHAIN, ("int8", "int8", "int8")), plan(CHAIN, ("int8", "int4", "int8"))
    bits = rows(CHAIN, narrow) - rows(CHAIN, same)
    written, read = 2 * 4 * 48, 2 * 4 * 48
    assert bits["a", "forward"] == -4 * written
    assert bits["b", "forward"] == -4 * read  # what it writes is read in eight bits as before
    assert bits["c", "forward"] == 0
    joules = rows(CHAIN, narrow, "dram_j") - rows(CHAIN, same, "dram_j")
    price = hardware_arrays(HARDWARE, None).write_pj_per_bit[0, -1] * 1e-12
    assert joules["a", "forward"] == pytest.approx(-4 * written * price)


@pytest.mark.parametrize("network", [CHAIN, dse.load_workload("fashion_cnn").with_batch(1)], ids=lambda network: network.name)
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_mixed_plan_costs_the_sum_of_its_layers_choices(network, mode):
    """What the exact allocation adds up is what `dse.evaluate` says of the same plan."""
    layers = network.mac_layers
    choices = [(4, 4), (8, 4), (8, 8)]
    arrays = hardware_arrays(HARDWARE, None)
    groups = [(index,) for index in range(len(layers))]
    plans = [[Plan.from_bits(network, weight=w, activation=a, error=8) for w, a in choices]]
    costs = choice_costs(network, HARDWARE, arrays, plans, groups, mode)
    random = np.random.default_rng(0)
    maps = list(product(range(3), repeat=len(layers))) if len(layers) < 4 else random.integers(0, 3, (6, len(layers)))
    for picked in maps:
        widths = [{layer.name: choices[m][operand] for layer, m in zip(layers, picked, strict=True)} for operand in (0, 1)]
        total = dse.evaluate(network, HARDWARE, Plan.from_bits(network, *widths, error=8), mode=mode).total.iloc[0]
        at = np.arange(len(layers)), np.array(picked)
        assert costs.energy_j[0, 0][at].sum() == pytest.approx(total["energy_j"], rel=1e-12)
        assert costs.latency_s[0, 0][at].sum() == pytest.approx(total["latency_s"], rel=1e-12)


def test_two_wishes_are_two_copies_and_are_told():
    same, apart = plan(FORK, ("int8", "int4", "int4")), plan(FORK, ("int8", "int4", "int8"))
    assert copies_notes(FORK, [same], False) == ()
    (note,) = copies_notes(FORK, [apart], False)
    assert note == "one tensor is read by left in int4; right in int8: it is written and held once for each format"
    assert dse.evaluate(FORK, HARDWARE, [same, apart], mode="inference").notes[-1] == note
    more = rows(FORK, apart) - rows(FORK, same)
    elements = 2 * 4 * 48
    # It reads wider, its copy is written, and its own result, of which no product says how it wants it, is as wide.
    assert more["right", "forward"] == 4 * elements + 8 * elements + 4 * 2 * 4 * 24
    held = [sum(footprint(FORK, each, "inference").values()) for each in (same, apart)]
    assert held[1] > held[0]


def test_layers_that_read_one_tensor_are_searched_as_one():
    class Profile:
        ties = ()

    assert tie_groups(FORK, Profile()) == ((0,), (1, 2))
    assert tie_groups(CHAIN, Profile()) == ((0,), (1,), (2,))


def test_results_of_their_own_format_are_written_and_read_so():
    own, wide = plan(CHAIN, ("int8",) * 3), plan(CHAIN, ("int8",) * 3, result="fp32")
    assert wide.label == "w8a8e8,result=fp32"
    bits = rows(CHAIN, wide) - rows(CHAIN, own)
    first, second, last = (2 * 4 * k for k in (48, 24, 8))
    assert bits["a", "forward"] == 24 * first  # its input comes from outside
    assert bits["b", "forward"] == 24 * first + 24 * second
    assert bits["c", "forward"] == 24 * second + 24 * last
    # On the chip it is what is multiplied: the memories there move no bit more for operands.
    chip = [column for column in ("weight_register_j",) if column in dse.evaluate(CHAIN, HARDWARE, own, mode="inference").layers]
    for column in chip:
        assert rows(CHAIN, wide, column).sum() == pytest.approx(rows(CHAIN, own, column).sum())
    assert sum(footprint(CHAIN, wide, "inference").values()) > sum(footprint(CHAIN, own, "inference").values())
    # Writing FP32 sums converts nothing, reading them does.
    assert rows(CHAIN, wide, "quantize_j")["a", "forward"] == 0 < rows(CHAIN, wide, "quantize_j")["b", "forward"]


def test_wide_results_in_training_are_errors_and_what_is_kept_too():
    own, wide = plan(CHAIN, ("int8",) * 3), plan(CHAIN, ("int8",) * 3, result="fp32")
    bits = rows(CHAIN, wide, mode="training") - rows(CHAIN, own, mode="training")
    assert bits["c", "backward_data"] == 24 * 2 * 4 * 24  # the error of what b wrote; its own comes from the loss
    assert bits["b", "backward_data"] == 24 * 2 * 4 * (48 + 24)
    assert bits["c", "backward_weight"] == 24 * 2 * 4 * 24  # b's result is kept as it is there
    narrow = plan(CHAIN, ("int8",) * 3, result="fp32", stash="int8")
    kept = [sum(2 * copy.kept * copy.bits for copy in copies_of(CHAIN, each, True)) for each in (own, wide, narrow)]
    assert kept[1] - kept[0] == 24 * 2 * 4 * (48 + 24)
    assert kept[2] == kept[0]


def test_a_plan_of_its_own_results_is_saved_and_read(tmp_path):
    given = plan(CHAIN, ("int8", "int4", "int4"), result={"a": "fp32", "b": "bf16", "c": "int32"})
    given.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml", CHAIN) == given
    assert Plan.parse("w8a8,result=bf16", CHAIN).cells("result")[0].name == "bf16"
    assert Plan.parse("w8a8", CHAIN).cells("result") == (None,) * 3


def test_fewer_bits_of_results_never_cost_more():
    names = ("int8", "bf16", "fp32")
    total = dse.evaluate(CHAIN, HARDWARE, [plan(CHAIN, ("int8",) * 3, result=name) for name in names], mode="inference").total
    assert (np.diff(total["dram_bits"]) > 0).all()
    assert (np.diff(total["latency_s"]) >= 0).all()
    assert (np.diff(total["dram_j"]) > 0).all()


def test_a_search_of_hardware_alone_tells_of_two_copies_too(tmp_path):
    """What `dse.evaluate` says of a plan stands in the notes of a run under it, which its page shows."""
    apart = plan(FORK, ("int8", "int4", "int8"))
    (tmp_path / "plan.yaml").write_text(apart.to_yaml())
    assert copies_notes(FORK, [Plan.load(tmp_path / "plan.yaml", FORK)], False) == copies_notes(FORK, [apart], False) != ()
    run = dse.explore(FORK, "tpu_like", plan=apart, mode="inference", trials=1)
    assert copies_notes(FORK, [apart], False)[0] in run.info["notes"]
    same = dse.explore(FORK, "tpu_like", plan=plan(FORK, ("int8", "int8", "int8")), mode="inference", trials=1)
    assert not any("one tensor is read by" in note for note in same.info["notes"])


def test_convolutions_of_a_unit_and_its_shortcut_in_a_plan_file(tmp_path):
    """A residual's main and shortcut convolutions that a plan file gives two formats: written once for each, and said."""
    (tmp_path / "net.yaml").write_text(
        "source: made up\nbatch: 2\nsamples: 2\nepochs: 1\noptimizer: sgd\ninput: {C: 8, H: 6, W: 6}\nlayers:\n"
        "  - {op: conv, name: stem, K: 8, R: 3, pad: 1}\n"
        "  - op: residual\n    main:\n      - {op: conv, name: main, K: 16, R: 1}\n"
        "    shortcut:\n      - {op: conv, name: shortcut, K: 16, R: 1}\n"
    )
    net = dse.load_workload(tmp_path / "net.yaml")
    text = "weight: int8\nerror: int8\nactivation: {default: int8, int4: [main]}\n"
    (tmp_path / "plan.yaml").write_text(text)
    apart = Plan.load(tmp_path / "plan.yaml", net)
    cost = dse.evaluate(net, HARDWARE, [Plan.parse("w8a8e8", net), apart], mode="inference")
    assert "one tensor is read by main in int4; shortcut in int8: it is written and held once for each format" in cost.notes
    bits = rows(net, apart) - rows(net, Plan.parse("w8a8e8", net))
    read, made = 2 * 8 * 6 * 6, 2 * 16 * 6 * 6
    assert bits["stem", "forward"] == -4 * read  # written as the main convolution wants it
    assert bits["main", "forward"] == -4 * read - 4 * made
    assert bits["shortcut", "forward"] == 8 * read  # the second copy, which it reads as wide as before
