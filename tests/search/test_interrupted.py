"""Runs that are killed, starved of disk, stopped, resumed, or spread over processes: the same front as if nothing had happened."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import warnings
from multiprocessing import active_children

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import dse
from dse.errors import InputError
from dse.files import HALF
from dse.search.loop.workers import Workers, run_trials

DRIVER = """
import json, os, resource, signal, sys
import dse.search.loop.run
from dse.errors import InputError
from dse.hardware import load_hardware

dse.search.loop.run.SAVE_SECONDS = 0.0  # After every batch: a run of seconds has as many states as one of hours.
workload, profile, values, runs = (json.loads(text) for text in sys.argv[1:])
hardware = load_hardware("flex_trainer").with_values(values)

states = []  # Bytes of the states of the first run.

def run(out, last=None, full=False):
    steps = 0

    def count(event, arguments):
        # What changes the folder: made, opened for writing, moved, removed.
        nonlocal steps
        changes = event in ("os.mkdir", "os.rename", "os.remove") or event == "open" and arguments[2] & os.O_ACCMODE
        if changes and str(arguments[0]).startswith(out):
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
            if event == "os.rename" and str(arguments[1]).endswith("state.json"):
                states.append(os.stat(arguments[0]).st_size)

    sys.addaudithook(count)
    if full:
        # The first states fit, the last one does not.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((states[0] + states[-1]) // 2, resource.RLIM_INFINITY))
    try:
        dse.explore(workload, hardware, profile=profile, trials=TRIALS, seed=5, out=out, resume=True)
    except InputError as error:
        return str(error)
    return ""

print(json.dumps([0, run(**runs.pop(0))]), flush=True)
# Each further run is a process of its own, with what is compiled and known already, that goes on where its folder stands.
for arguments in runs:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, run(**arguments).encode())
        os._exit(0)
    os.close(writing)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([code, os.read(reading, 10_000).decode()]), flush=True)
"""
TRIALS = 32


@pytest.fixture(scope="module")
def run(wide, wide_values):
    """Runs, each in a process of its own that goes on where its folder stands: exit code, and what it said."""

    def each(*runs):
        arguments = [json.dumps(each, default=str) for each in (wide[0], wide[1], wide_values, runs)]
        driver = DRIVER.replace("TRIALS", str(TRIALS))
        # Threads that would be lost in a fork are not started.
        environment = os.environ | {"NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue"}
        command = [sys.executable, "-c", driver, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0
        assert not done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return each


@pytest.fixture(scope="module")
def runs(run, wide, tmp_path_factory):
    """A run left alone; one killed before it changes its folder for the n-th time, in its first states, in later ones, and while
    it writes its tables; one whose disk takes no file as large as its last state. All but the first go on until they are through."""
    folder = tmp_path_factory.mktemp("runs")
    outs = {name: folder / name for name in ("whole", "killed", "full")}
    deaths = [1, 3, 6, 8, 10, 20]
    told = run(
        {"out": outs["whole"]},
        *({"out": outs["killed"], "last": last} for last in deaths),
        {"out": outs["killed"]},
        {"out": outs["full"], "full": True},
    )
    done = json.loads((outs["full"] / "state" / "state.json").read_text())["done"]
    # The disk has room again.
    dse.explore(wide[0], wide[2], profile=wide[1], trials=TRIALS, seed=5, out=outs["full"], resume=True)
    return outs, told, done


@pytest.fixture(scope="module")
def whole(runs):
    """The folder of the run that was left alone."""
    return runs[0]["whole"]


@pytest.fixture(scope="module")
def short(tiny, tmp_path_factory):
    """A short run that is through, and its options but for the folder."""
    out, options = tmp_path_factory.mktemp("short") / "run", {"profile": tiny[1], "trials": 8}
    dse.explore(tiny[0], tiny[2], out=out, **options)
    return out, options


@pytest.fixture
def again(short, tmp_path):
    """The options of the short run with a copy of its folder."""
    return {**short[1], "out": shutil.copytree(short[0], tmp_path / "run")}


def same(out, other):
    for name in ("front.csv", "designs.csv", "bits.csv", "sensitivity.csv"):
        assert (out / name).read_bytes() == (other / name).read_bytes(), name
    plans = [{path.name: path.read_bytes() for path in (each / "plans").iterdir()} for each in (out, other)]
    assert plans[0] == plans[1]


def test_killed_at_any_step_and_resumed(runs):
    outs, told, _ = runs
    assert [code for code, _ in told[1:-2]] == [-signal.SIGKILL] * len(told[1:-2])
    assert told[-2][0] == 0
    same(outs["killed"], outs["whole"])
    assert not list(outs["killed"].rglob(f"*{HALF}"))


def test_full_disk_ends_with_one_sentence_and_the_last_good_state(runs):
    outs, told, done = runs
    assert told[-1][1].count("cannot be written") == 1
    assert 0 < done < TRIALS
    same(outs["full"], outs["whole"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written(tiny, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        dse.explore(tiny[0], tiny[2], profile=tiny[1], trials=8, out=tmp_path / "run")


def test_other_inputs_are_not_resumed(wide, whole):
    before = (whole / "front.csv").read_bytes()
    with pytest.raises(InputError, match="seed was 5, is 6"):
        dse.explore(wide[0], wide[2], profile=wide[1], trials=TRIALS, seed=6, out=whole, resume=True)
    with pytest.raises(InputError, match="holds a run already"):
        dse.explore(wide[0], wide[2], profile=wide[1], trials=TRIALS, seed=5, out=whole)
    assert (whole / "front.csv").read_bytes() == before


def test_a_damaged_state_is_one_sentence(tiny, again, tmp_path):
    state = tmp_path / "run" / "state"
    (found,) = state.glob("found-*.npz")
    front = (tmp_path / "run" / "front.csv").read_bytes()
    generator = random.Random(3)

    def flipped(content):
        place = generator.randrange(len(content))
        return content[:place] + bytes([content[place] ^ 1 << generator.randrange(8)]) + content[place + 1 :]

    def signed(plain):
        """As somebody writes it who knows how the checksum is made."""
        del plain["sha256"]
        return json.dumps(
            {**plain, "sha256": hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}
        ).encode()

    text = json.loads((state / "state.json").read_text())
    damaged = {
        state / "state.json": [
            b"", b"{", b"[" * 20_000, b"[]", b"null", json.dumps({**text, "done": 1 << 70}).encode(), b'{"inputs": 3}',
            signed({**text, "done": -1}), signed({**text, "failed": [3]}), signed({**text, "trace": ["x"]}),
            signed({**text, "failed": [["area", [1.0, 2.0, 3.0, 4.0]]]}), signed({**text, "trials": [{}]}),
            signed({**text, "elapsed_s": None}), json.dumps({**text, "elapsed_s": float("nan")}).encode(),
            *(flipped((state / "state.json").read_bytes()) for _ in range(8)),
        ],
        found: [b"", found.read_bytes()[:100], found.read_bytes()[:-1], b"PK" * 50, *(flipped(found.read_bytes()) for _ in range(8))],
    }  # fmt: skip
    for path, contents in damaged.items():
        whole = path.read_bytes()
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(InputError) as raised:
                dse.explore(tiny[0], tiny[2], resume=True, **again)
            assert len(raised.value.problems) == 1
        path.write_bytes(whole)
    assert (tmp_path / "run" / "front.csv").read_bytes() == front
    dse.explore(tiny[0], tiny[2], resume=True, **again)
    assert (tmp_path / "run" / "front.csv").read_bytes() == front


@pytest.mark.parametrize("name", ["objectives", "choice", "parameters"])
def test_found_designs_that_no_run_has_are_refused(tiny, again, tmp_path, name):
    state = tmp_path / "run" / "state"
    (path,) = state.glob("found-*.npz")
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays[name] = arrays[name] * np.nan if arrays[name].dtype.kind == "f" else arrays[name][:, :-1]
    np.savez(path, **arrays)
    plain = json.loads((state / "state.json").read_text())
    del plain["sha256"]
    plain["found_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    plain["sha256"] = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    (state / "state.json").write_text(json.dumps(plain))
    with pytest.raises(InputError, match="cannot be read"):
        dse.explore(tiny[0], tiny[2], resume=True, **again)


def test_a_run_of_another_version_is_not_resumed(tiny, again, monkeypatch):
    monkeypatch.setattr("dse.search.loop.state.MODEL_VERSION", 0)
    with pytest.raises(InputError, match=r"was computed by .*'model': '\d+'.* this is .*'model': '0'"):
        dse.explore(tiny[0], tiny[2], resume=True, **again)


def test_two_processes_do_not_work_on_one_run(tiny, tmp_path):
    options = {"profile": tiny[1], "trials": 8, "out": tmp_path / "run"}

    def meanwhile(*_):
        with pytest.raises(InputError, match="another process is at work"):
            dse.explore(tiny[0], tiny[2], resume=True, **options)

    dse.explore(tiny[0], tiny[2], progress=meanwhile, **options)


def test_what_fails_before_it_has_a_result_leaves_no_folder(tiny, tmp_path):
    with pytest.raises(InputError, match=r"no Dask scheduler answers|needs Dask"):
        dse.explore(tiny[0], tiny[2], profile=tiny[1], trials=8, scheduler="nonsense", out=tmp_path / "a" / "run")
    assert not list(tmp_path.iterdir())


def test_a_time_budget_ends_a_run_that_goes_on_later(wide, whole, tmp_path):
    options = {"profile": wide[1], "seed": 5, "out": tmp_path / "run"}
    first = dse.explore(wide[0], wide[2], seconds=1e-3, trials=TRIALS, **options)
    assert 0 < first.info["counts"]["trials"] < TRIALS
    # With both, the first that is used up.
    rest = dse.explore(wide[0], wide[2], seconds=6000, trials=TRIALS, resume=True, **options)
    assert rest.info["counts"]["trials"] == TRIALS
    same(tmp_path / "run", whole)


def test_ctrl_c_leaves_a_state(wide, whole, tmp_path):
    seen = []

    def stop(done, front, covered, gap):
        seen.append((done, front, covered, gap))
        raise KeyboardInterrupt

    options = {"profile": wide[1], "seed": 5, "trials": TRIALS, "out": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        dse.explore(wide[0], wide[2], progress=stop, **options)
    assert seen[0][0] == json.loads((tmp_path / "run" / "state" / "state.json").read_text())["done"] > 0
    assert seen[0][2] > 0
    assert seen[0][3] == 0
    dse.explore(wide[0], wide[2], resume=True, **options)
    same(tmp_path / "run", whole)


@pytest.mark.parametrize("strategy", ["nested", "joint"])
def test_journal_holds_the_study_and_no_warning_is_shown(wide, tmp_path, strategy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = dse.explore(wide[0], wide[2], profile=wide[1], strategy=strategy, trials=24, out=tmp_path / "run")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "run" / "optuna.journal")))
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert study.metric_names == ["latency_s", "energy_j", "area_mm2"]
    # A point that the sampler asked for again is in the study, but no trial of its own.
    names = [name for name in study.trials[0].params if name not in ("latency_weight", "limit_share")]
    assert (
        len({tuple(trial.params[name] for name in names) for trial in study.trials})
        == 24
        == run.info["counts"]["trials"]
    )
    found = {tuple(row) for row in run.designs[["latency_s", "energy_j", "area_mm2"]].to_numpy()}
    feasible = [trial for trial in study.trials if trial.values[0] < 1e3]
    assert feasible
    assert {tuple(trial.values) for trial in feasible} <= found


@pytest.mark.long
def test_a_killed_worker_costs_no_result(tiny):
    problem = dse.explore(tiny[0], tiny[2], profile=tiny[1], trials=8).problem
    names = [name for name, _ in problem.parameters]
    values = [
        {**dict(zip(names, row, strict=True)), "latency_weight": 0.3}
        for row in ((size, width) for size in problem.parameters[0][1] for width in (64.0, 256.0))
    ]
    alone = run_trials(problem, True, values, 0)
    with Workers(problem, True, 2) as workers:
        first = workers.run(values[:4], 0)
        victim = active_children()[0]
        os.kill(victim.pid, signal.SIGKILL)
        rest = workers.run(values[4:], 4)
    for one, other in zip(alone, [*first, *rest], strict=True):
        assert one.limit == other.limit
        for name in ("trial", "parameters", "error", "choice", "objectives", "gap", "binds"):
            np.testing.assert_array_equal(getattr(one.found, name), getattr(other.found, name), err_msg=name)
