"""What cannot run is one sentence and an exit code of its own, whatever verb was asked."""

import json

import pytest

from dse.shipped import shipped_folder

NETWORK = """
source: made up
batch: 4
samples: 4
epochs: 1
optimizer: sgd
input: {C: 8, H: 8, W: 8}
layers:
  - {op: conv, name: first, K: 8, R: 3, pad: 1}
  - {op: fc, name: last, K: 10}
"""


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(NETWORK)
    return path


def without_room(tmp_path):
    """bit_fusion with buffers that hold a few elements."""
    text = (shipped_folder("hwmodels") / "bit_fusion.yaml").read_text()
    path = tmp_path / "hw.yaml"
    lines = [line.split(":")[0] + ": 8" if line.strip().startswith("size_bits") else line for line in text.splitlines()]
    path.write_text("\n".join([*lines, "allow_unusual: true"]))
    return path


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_a_plan_that_the_elements_do_not_multiply(dse_here, net, tmp_path, mode):
    done = dse_here("evaluate", net, "--hardware", "mx_trainer", "--plan", "bf16", "--mode", mode, cwd=tmp_path, code=3)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"small on mx_trainer, bf16, {mode}: infeasible: processing element" in done.stderr


def test_a_memory_that_is_too_small_says_by_how_much(dse_here, net, tmp_path):
    done = dse_here("evaluate", net, "--hardware", without_room(tmp_path), "--plan", "w8a8e8", cwd=tmp_path, code=3)
    assert done.stderr.count("\n") == 1
    assert "bits are missing" in done.stderr


def test_json_has_the_rows_and_the_code(dse_here, net, tmp_path):
    done = dse_here("evaluate", net, "--hardware", "mx_trainer", "--plan", "bf16", "--json", cwd=tmp_path, code=3)
    total = json.loads(done.stdout)["total"][0]
    assert total["feasible"] is False
    assert total["latency_s"] is None
    assert total["limit"] in done.stderr


def test_saved_mappings_of_what_cannot_run_are_not_written(dse_here, net, tmp_path):
    dse_here("evaluate", net, "--hardware", "mx_trainer", "--plan", "bf16", "--save-mapping", "m.yaml", cwd=tmp_path, code=3)
    assert not (tmp_path / "m.yaml").exists()


def test_a_sweep_without_a_batch_that_runs(dse_here, net, tmp_path):
    done = dse_here("sweep", net, "--hardware", "mx_trainer", "--plan", "bf16", "--batches", "1,2", cwd=tmp_path, code=3)
    assert "batch 1: infeasible" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("limit", "code"), [("--max-model-size", 2), ("--max-area", 2), ("--max-latency", 3)])
def test_a_search_that_finds_nothing_writes_nothing(dse_here, net, tmp_path, limit, code):
    """A limit that nothing in the space can keep is a wrong input; one that no design kept that was tried is code 3."""
    words = ["explore", net, "--plan", "w8a8e8", "--trials", 2, limit, "1e-9"]
    done = dse_here(*words, cwd=tmp_path, code=code)
    assert f"{limit}: " in done.stderr
    assert "the nearest feasible value is " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [net.name]


UNITS = ("mm²", "MAC", "BitOps", "bits", "s", "J", "W", "TOPS", "TOPS/W", "samples/s")


def unit(cell):
    """The unit that a number ends in, behind at most one prefix."""
    word = cell.split()[-1]
    return next((name for name in UNITS if word in (name, *(prefix + name for prefix in "kMGTPEmµnpf"))), word)


def test_every_number_of_the_tables_has_a_unit(dse_here, net, tmp_path):
    out = dse_here("evaluate", net, "--hardware", "bit_fusion", "--plan", "w8a8e8", cwd=tmp_path, code=0).stdout
    total, passes = out.split("Per layer")[0], out.split("Per pass")[1]
    for line in total.splitlines():
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        if cells and cells[0] not in ("feasible", "fused groups", "Mapping gap", "price extrapolated", "limit"):
            assert unit(cells[1]) in UNITS, cells
    for line in passes.splitlines():
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        assert [unit(cell) for cell in cells[1:]] in ([], ["s", "J", "W", "BitOps"])
    table = dse_here("sweep", net, "--hardware", "bit_fusion", "--batches", "1,2", cwd=tmp_path, code=0).stdout
    assert "samples/s" in table
    assert "latency_s" not in table
