"""Strategies, samplers, several networks, schedules and sensitivities through ``dse.explore``."""

import sys
import warnings
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest

import dse
from dse.errors import InputError
from dse.search.explore import MAX_EXHAUSTIVE
from dse.search.loop.optuna_study import NEEDS, SAMPLERS

COSTS = ["latency_s", "energy_j", "area_mm2"]


def explored(tiny, **options):
    workload, profile, hardware = tiny
    return dse.explore(workload, hardware, **{"profile": profile, "trials": 24, **options})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_by_name_is_seeded(tiny, sampler):
    options = {"strategy": "random" if sampler == "random" else "nested", "sampler": sampler, "screening": False}
    # Models are fitted from the eleventh trial on, Gaussian processes in a second each.
    options["trials"] = 13
    if sampler in NEEDS and find_spec(NEEDS[sampler]) is None:
        with pytest.raises(
            InputError, match=rf"'{sampler}' needs {NEEDS[sampler]}: pip install 'lowprec-dse\[samplers\]'"
        ):
            explored(tiny, **options)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = explored(tiny, seed=3, **options)
    assert run.info["sampler"] == sampler
    assert run.info["counts"]["trials"] == options["trials"]
    again, other = (explored(tiny, seed=seed, **options) for seed in (3, 4))
    assert again.designs.equals(run.designs)
    assert not other.designs.equals(run.designs)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_joint_starts_from_plans_that_keep_the_limit_and_gets_better(tiny, sampler):
    run = explored(tiny, strategy="joint", sampler=sampler, trials=64 if sampler == "tpe" else 96, seed=1)
    trace = run.info["hypervolume_trace"]
    assert trace[0] > 0
    assert all(after >= before for before, after in pairwise(trace))
    assert trace[-1] > trace[0]
    assert explored(tiny, strategy="exhaustive").info["hypervolume"] >= trace[-1] * (1 - 1e-12)


def test_exhaustive_solves_every_point_and_says_what_is_too_large(tiny):
    run = explored(tiny, strategy="exhaustive", trials=None)
    assert run.info["counts"]["hardware_designs"] == run.info["counts"]["trials"] == 28
    assert "Every hardware point" in run.info["certificate"]["text"]
    schedules = {"schedules": "cyclic", "objectives": ("latency", "energy", "area", "accuracy")}
    with pytest.raises(InputError, match=f"at most {MAX_EXHAUSTIVE:,} designs"):
        dse.explore(tiny[0], "flex_trainer", profile=tiny[1], strategy="exhaustive", **schedules)


def test_screening_only_decides_where_to_start(tiny):
    for screening in (True, False):
        run = explored(tiny, trials=40, screening=screening)
        assert len(run.front)
        assert (run.front["certificate_gap"] == 0.0).all()


def test_four_objectives_trade_accuracy(tiny):
    run = explored(tiny, objectives=("latency", "energy", "area", "accuracy"), trials=40)
    assert run.front["accuracy_drop_pp"].nunique() > 1
    assert (run.front["accuracy_drop_pp"] <= 1.0).all()
    assert len(run.front) >= len(explored(tiny, trials=40).front)


@pytest.fixture(scope="module")
def second(tiny, tmp_path_factory):
    """Another network on the same hardware, with a profile of its own."""
    folder = tmp_path_factory.mktemp("second")
    text = tiny[0].read_text().replace("K: 32", "K: 48").replace("H: 16, W: 16", "H: 8, W: 8")
    (folder / "other.yaml").write_text(text)
    (folder / "profile.yaml").write_text(tiny[1].read_text().replace("network: tiny", "network: other"))
    return folder / "other.yaml", folder / "profile.yaml"


@pytest.mark.parametrize("worst_case", [False, True])
def test_several_networks_share_one_hardware_each_with_its_own_map(tiny, second, worst_case, tmp_path):
    weights = (2.0, 1.0)
    run = dse.explore(
        [tiny[0], second[0]],
        tiny[2],
        profile=[tiny[1], second[1]],
        weights=weights,
        worst_case=worst_case,
        strategy="exhaustive",
        out=tmp_path / "run",
    )
    networks = [dse.load_workload(tiny[0]), dse.load_workload(second[0])]
    profiles = [dse.load_profile(path, network) for path, network in zip((tiny[1], second[1]), networks, strict=True)]
    assert len(run.front)
    for row in run.front.iloc[::4].itertuples():
        maps = run.maps(row.design)
        hardware = run.hardware(row.design)
        each = np.array(
            [
                dse.evaluate(network, hardware, maps[network.name]).total[["latency_s", "energy_j"]].iloc[0]
                for network in networks
            ]
        )
        drops = [profile.predict_drop(maps[n.name]) for profile, n in zip(profiles, networks, strict=True)]
        together = np.max if worst_case else np.sum
        np.testing.assert_allclose([row.latency_s, row.energy_j], together(each * np.array(weights)[:, None], axis=0))
        assert row.accuracy_drop_pp == pytest.approx(max(drops), abs=1e-9)
        assert max(drops) <= 1.0 + 1e-9
        assert row.certificate_bound <= row.certificate_best
        if not worst_case:
            assert row.certificate_gap == 0.0
    plans = {path.name for path in (tmp_path / "run" / "plans").iterdir()}
    assert plans == {f"{design}.{network.name}.yaml" for design in run.front["design"] for network in networks}
    with pytest.raises(InputError, match="one positive number per network"):
        dse.explore([tiny[0], second[0]], tiny[2], profile=[tiny[1], second[1]], weights=[1.0])


def test_schedules_are_searched_with_the_maps(tiny):
    run = explored(tiny, schedules="cyclic", trials=32, seed=2)
    row = run.front.iloc[0]
    cost = dse.evaluate(
        dse.load_workload(tiny[0]), run.hardware(row["design"]), run.schedule(row["design"])
    ).total.iloc[0]
    # The whole run pays for the changes of widths too, which the mean step leaves out.
    for name in ("latency_s", "energy_j"):
        assert row[name] * (1 - 1e-9) <= cost[name] / 64_000 <= row[name] * (1 + 1e-5)


def test_sensitivity_says_what_moves_what(tiny, tmp_path):
    run = explored(tiny, out=tmp_path / "run")
    total = run.sensitivity.set_index(["objective", "parameter"])["total_order"]
    # The buffer and the interface to DRAM add up to what varies of the area, so their estimated shares add up to about one; both move the time.
    size, bandwidth = (
        total["area_mm2", f"memories.{key}"] for key in ("buffer.size_bits", "dram.bandwidth_bits_per_cycle")
    )
    assert size + bandwidth == pytest.approx(1.0, abs=0.15)
    assert min(size, bandwidth) > 0.1
    assert total["latency_s", "memories.dram.bandwidth_bits_per_cycle"] > 0.5
    assert run.info["sensitivity"] == run.sensitivity.to_dict("records")


def test_dask_is_an_extra(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"needs Dask: pip install 'lowprec-dse\[dask\]'"):
        explored(tiny, scheduler="tcp://127.0.0.1:1")


def test_a_scheduler_that_does_not_answer_is_said(tiny):
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        explored(tiny, scheduler="tcp://127.0.0.1:1")


def test_a_cluster_that_loses_a_worker_gives_the_same_front(tiny, tmp_path):
    distributed = pytest.importorskip("distributed")
    alone = explored(tiny, trials=32, seed=6)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=tmp_path
    ) as cluster:
        killed = []

        def kill(done, front, covered, gap):
            if not killed:
                worker = next(iter(cluster.workers.values()))
                worker.process.process._process.kill()
                killed.append(done)

        spread = explored(tiny, trials=32, seed=6, scheduler=cluster.scheduler_address, progress=kill)
    assert 0 < killed[0] < 32
    assert spread.front.equals(alone.front)
    assert spread.designs.equals(alone.designs)


def test_wrong_options_come_at_once(tiny):
    with pytest.raises(InputError) as raised:
        explored(tiny, strategy="nestd", sampler="tep", trials=0, jobs=0, seed=-1, seconds=-1.0)
    assert len(raised.value.problems) == 6
    with pytest.raises(InputError, match="did you mean 'latency'"):
        explored(tiny, limits={"latencyy": 1.0})
    with pytest.raises(InputError, match="no bit map of this profile loses at most"):
        explored(tiny, max_accuracy_drop=0.0001)
