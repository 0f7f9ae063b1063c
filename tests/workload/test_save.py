"""Networks that are saved and read back are the same, from wherever they came; names and plans go in as on the command line."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import dse
from dse.cli import app
from dse.errors import InputError, control_problem
from dse.names import PASSES
from dse.shipped import shipped_names
from dse.workload.from_file.keys import NEST_KEYS
from dse.workload.layer import FUNCTIONS, MAC_KINDS, VECTOR_KINDS
from dse.workload.model import OPTIMIZERS, Folded, Layer, Mask, Network

FLAGS = [field.name for field in fields(Layer) if isinstance(field.default, bool)]
SIZE = st.integers(1, 9)
PAIR = st.tuples(SIZE, SIZE)
#: Any text that a file may hold: no control characters, which are refused by name.
WORD = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).filter(lambda text: not control_problem(text))


@st.composite
def layers(draw, names, kinds=(*MAC_KINDS, *VECTOR_KINDS)):
    """A layer of any kind with any of the keys that its kind uses."""
    kind = draw(st.sampled_from(kinds))
    name = draw(WORD.filter(lambda word: word not in names))
    used = set(NEST_KEYS[kind])
    values = {dim: draw(SIZE) for dim in "NGKCPQRS" if dim in used}
    values |= {key: draw(PAIR) for key in ("stride", "dilation") if key in used}
    values |= {key: draw(st.booleans()) for key in FLAGS if key in used}
    values |= {"input_hw": draw(PAIR), "repeats": draw(SIZE), "tie": draw(st.sampled_from(["", *names]))}
    if "function" in used:
        values["function"] = draw(st.sampled_from(["", *FUNCTIONS]))
    if "folded" in used and draw(st.booleans()):
        values["folded"] = Folded(draw(SIZE), draw(SIZE), draw(SIZE))
        values["N"] *= values["folded"].output
        values["C"] *= values["folded"].taps
    if "experts" in used and draw(st.booleans()):
        values |= {"experts": values["G"] + draw(SIZE), "routing": draw(st.sampled_from(["uniform", "worst"]))}
    if "mask" in used and draw(st.booleans()):
        dim, queries = draw(st.sampled_from("KC")), draw(SIZE)
        values["mask"] = Mask(dim, queries, draw(SIZE), draw(st.booleans()))
        values["N"] *= queries
        values[dim] += queries
    data = kind not in MAC_KINDS or draw(st.booleans())
    gradient = kind in MAC_KINDS and not values.get("frozen") and draw(st.booleans())
    wanted = {"forward": True, "backward_data": data and draw(st.booleans()), "backward_weight": gradient}
    values["passes"] = tuple(pass_ for pass_ in PASSES if wanted[pass_])
    reads = st.lists(st.sampled_from(["", *names]), max_size=3).map(tuple)
    values["reads"] = draw(reads)
    values["reads_second"] = draw(reads) if values["reads"] else ()
    return Layer(name, kind, **values)


@st.composite
def networks(draw):
    found = [draw(layers((), MAC_KINDS))]
    for _ in range(draw(st.integers(0, 4))):
        found.append(draw(layers([layer.name for layer in found])))
    numbers = {key: draw(st.integers(1, 99)) for key in ("batch", "samples", "epochs", "accumulate")}
    return Network(draw(WORD), draw(WORD), tuple(found), optimizer=draw(st.sampled_from(OPTIMIZERS)), **numbers)


@settings(max_examples=60)
@given(network=networks(), file=st.sampled_from(["net.yaml", "a b.yaml", "net.v2.yaml"]))
def test_random_networks_come_back(tmp_path_factory, network, file):
    path = tmp_path_factory.getbasetemp() / file
    network.save(path)
    assert dse.load_workload(path) == replace(network, path=str(path))


@pytest.mark.parametrize("name", shipped_names("workloads"))
def test_shipped_networks_come_back(tmp_path, name):
    network = dse.load_workload(name)
    for file in (tmp_path / f"{name}.yaml", tmp_path / "other.yaml"):
        network.save(str(file))
        assert dse.load_workload(file) == replace(network, path=str(file))


def test_a_saved_network_goes_through_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = replace(dse.load_workload("cifar_resnet20"), name="mine", accumulate=2)
    network.save("net.yaml")
    runner = CliRunner()
    shown = runner.invoke(app, ["evaluate", "net.yaml", "--hardware", "tpu_like", "--plan", "w8a4", "--json"])
    assert shown.exit_code == 0
    ours = dse.evaluate("net.yaml", "tpu_like", "w8a4")
    theirs = dse.evaluate(network, dse.load_hardware("tpu_like"), dse.Plan.parse("w8a4", network))
    assert json.loads(shown.stdout)["total"][0]["latency_s"] == ours.total["latency_s"].iloc[0]
    assert ours.total.equals(theirs.total)
    dse.Plan.parse("w8a4", network).save("plan.yaml")
    for plan in ("plan.yaml", Path("plan.yaml"), ["w8a4", "plan.yaml"]):
        assert dse.evaluate(Path("net.yaml"), Path("tpu_like"), plan).total["energy_j"].nunique() == 1


def test_names_that_do_not_exist_are_told_as_on_the_command_line():
    for arguments, message in (
        (("cifar_resnet21", "tpu_like", "w8a8"), "did you mean 'cifar_resnet20'"),
        (("cifar_resnet20", "tpu_lik", "w8a8"), "did you mean 'tpu_like'"),
        (("cifar_resnet20", "tpu_like", "w8b8"), "w8b8"),
        (("cifar_resnet20", "tpu_like", "nothing.yaml"), "no such file"),
    ):
        with pytest.raises(InputError) as caught:
            dse.evaluate(*arguments)
        assert message in str(caught.value)
        shown = CliRunner().invoke(app, ["evaluate", arguments[0], "--hardware", arguments[1], "--plan", arguments[2]])
        assert str(shown.exception) == str(caught.value)


def test_a_network_without_a_source_says_so(tmp_path):
    with pytest.raises(InputError, match="has no source; give one"):
        Network("net", "", (Layer("a", "fc", K=3),), 1, 1, 1).save(tmp_path / "net.yaml")
    with pytest.raises(InputError, match="cannot be written"):
        Network("net", "made up", (Layer("a", "fc", K=3),), 1, 1, 1).save(tmp_path / "none" / "net.yaml")
    with pytest.raises(InputError, match="control character"):
        Network("net", "made up", (Layer("a\x1f", "fc", K=3),), 1, 1, 1).save(tmp_path / "net.yaml")
    assert not list(tmp_path.iterdir())
