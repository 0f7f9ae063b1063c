"""Whole searches against every bit map on every hardware point, evaluated one by one through the public interface."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

import dse
from dse.errors import InputError, NothingFeasible
from dse.goals import objective_columns
from dse.search.bits.solve import CERTIFIED_WEIGHTS, FIXED_WEIGHTS
from dse.search.loop.workers import EXHAUSTIVE_WEIGHT
from dse.search.pareto import hypervolume, pareto_mask

WIDTHS = (2, 4, 8)
ERRORS = (6, 8)
COSTS = ["latency_s", "energy_j", "area_mm2"]
SPACE = ["memories.buffer.size_bits", "memories.dram.bandwidth_bits_per_cycle"]


@pytest.fixture(scope="module")
def every(tiny):
    """A row per design and bit map: figures of ``evaluate``, the predicted drop, what each hard limit bounds."""
    workload, profile, hardware = tiny
    network = dse.load_workload(workload)
    sensitivity = dse.load_profile(profile, network)
    space = pd.DataFrame(
        list(product(*(p.values for p in hardware.space))), columns=[p.name for p in hardware.space]
    ).astype(int)
    assert list(space) == SPACE
    plans = [
        dse.Plan.from_bits(network, weight=w, activation=w, error=error)
        for error in ERRORS
        for w in ({"first": a, "second": a, "third": b, "last": 8} for a, b in product(WIDTHS, WIDTHS))
    ]
    tables = []
    for plan in plans:
        cost = dse.evaluate(network, hardware, plan, space)
        parameters = np.array([layer.parameters for layer in network.layers])
        tables.append(
            pd.concat([space, cost.total], axis=1).assign(
                accuracy_drop_pp=sensitivity.predict_drop(plan),
                error_bits=int(plan.widths("error")[0]),
                bitops=cost.layers[cost.layers["design"] == cost.layers["design"].iloc[0]]["bitops"].sum(),
                model_size=float((parameters * plan.stored_bits("weight")).sum()),
                memory=cost.total["peak_memory_bits"],
            )
        )
    return pd.concat(tables, ignore_index=True)


def explored(tiny, **options):
    workload, profile, hardware = tiny
    given = {"profile": profile, "max_accuracy_drop": 1.0, "confidence": 0.5, "widths": WIDTHS, **options}
    return dse.explore(workload, given.pop("hardware", hardware), **given)


@pytest.fixture(scope="module")
def exhaustive(tiny):
    return explored(tiny, strategy="exhaustive")


def weighted(run, table, weight):
    latency, energy = (
        table[name] / run.problem.reference[objective_columns().index(name)] for name in ("latency_s", "energy_j")
    )
    return weight * latency + (1 - weight) * energy


def kept(every, limit=1.0):
    return every[every["feasible"] & (every["accuracy_drop_pp"] <= limit + 1e-9)]


def test_every_hardware_point_has_the_cheapest_map_at_every_weight(every, exhaustive):
    found = exhaustive.designs.set_index([*SPACE, "error_bits"]).sort_index()
    allowed = kept(every).set_index([*SPACE, "error_bits"]).sort_index()
    assert set(found.index) == set(allowed.index)
    for weight in (*FIXED_WEIGHTS, EXHAUSTIVE_WEIGHT):
        best = weighted(exhaustive, found, weight).groupby(level=[0, 1, 2]).min()
        least = weighted(exhaustive, allowed, weight).groupby(level=[0, 1, 2]).min()
        pd.testing.assert_series_equal(best, least, rtol=1e-11)


def test_no_bit_map_dominates_the_exhaustive_front_by_weight_and_few_are_missed(every, exhaustive):
    allowed = kept(every)[COSTS].to_numpy()
    front = allowed[pareto_mask(allowed)]
    found = exhaustive.front[COSTS].to_numpy()
    unit = exhaustive.problem.reference[:3]
    share = hypervolume(found / unit, np.ones(3)) / hypervolume(front / unit, np.ones(3))
    assert 0.999 <= share <= 1 + 1e-9


def test_figures_of_the_front_are_those_of_evaluate(every, exhaustive):
    columns = [*COSTS, "accuracy_drop_pp"]
    rows = {tuple(f"{value:.9e}" for value in row) for row in every[columns].to_numpy()}
    for row in exhaustive.front[columns].to_numpy():
        assert tuple(f"{value:.9e}" for value in row) in rows


def test_certificates_lie_below_every_bit_map(every, tiny):
    for strategy in ("nested", "joint", "random"):
        run = explored(tiny, strategy=strategy, sampler="nsga2", trials=48, seed=3)
        assert len(run.front)
        for row in run.front.itertuples(index=False):
            named = dict(zip(run.front.columns, row, strict=True))
            same = kept(every)
            for name in [*SPACE, "error_bits"]:
                same = same[same[name] == named[name]]
            weight = named["certificate_weight"]
            least = weighted(run, same, weight).min()
            own = weighted(run, pd.DataFrame([named]), weight).iloc[0]
            assert named["certificate_best"] == pytest.approx(own, rel=1e-9)
            assert named["certificate_bound"] <= least * (1 + 1e-9)
            assert named["certificate_gap"] == pytest.approx(own / least - 1, abs=0.02)
            assert named["certificate_gap"] >= (own - least) / own - 1e-9
            if strategy == "nested":
                assert named["certificate_gap"] == 0.0
            else:
                assert weight in CERTIFIED_WEIGHTS
        assert run.info["certificate"]["worst_gap"] == run.front["certificate_gap"].max()


@pytest.mark.parametrize(
    ("limit", "column"),
    [
        ("latency", "latency_s"),
        ("energy", "energy_j"),
        ("area", "area_mm2"),
        ("model_size", "model_size"),
        ("memory", "memory"),
        ("bitops", "bitops"),
    ],
)
def test_hard_limits_are_kept_at_the_best_of_all(every, tiny, limit, column):
    allowed = kept(every)
    bound = float(allowed[column].quantile(0.4)) * (1 + 1e-12)
    run = explored(tiny, strategy="exhaustive", limits={limit: bound})
    within = allowed[allowed[column] <= bound]
    assert len(run.designs[run.designs["feasible"]]) > 0
    dearer = False
    for weight in (*FIXED_WEIGHTS, EXHAUSTIVE_WEIGHT):
        found = run.designs[run.designs["feasible"]]
        best = weighted(run, found, weight).groupby([found[name] for name in [*SPACE, "error_bits"]]).min()
        least = weighted(run, within, weight).groupby([within[name] for name in [*SPACE, "error_bits"]]).min()
        free = weighted(run, allowed, weight).groupby([allowed[name] for name in [*SPACE, "error_bits"]]).min()
        # It binds where the best map without it does not keep it.
        dearer |= bool((least > free.loc[least.index] * (1 + 1e-9)).any())
        pd.testing.assert_series_equal(best, least, rtol=1e-9, check_index_type=False)
    failed = run.designs[~run.designs["feasible"]]
    points = {tuple(row) for row in within[SPACE].to_numpy()}
    assert len(failed) == 28 - len(points)
    assert failed["limit"].str.startswith(f"{limit}: ").all()
    stated = {row["limit"]: row for row in run.info["limits"]}[limit]
    assert stated["bound"] == bound
    assert stated["infeasible_trials"] == len(failed)
    binds = run.designs["binds"].str.split("+").map(lambda names: limit in names)
    assert binds.any() == dearer


@pytest.mark.parametrize("name", ["latency", "energy", "area", "model_size", "memory", "bitops"])
def test_a_limit_that_nothing_keeps_is_an_error_with_the_nearest_value_that_is_kept(tiny, every, name, tmp_path):
    """Of all bit maps on all designs; what the message names as feasible is."""
    column = {"latency": "latency_s", "energy": "energy_j", "area": "area_mm2"}.get(name, name)
    least = float(kept(every)[column].min())
    option = f"--max-{name.replace('_', '-')}"
    with pytest.raises(InputError, match=option) as error:
        explored(tiny, strategy="exhaustive", limits={name: least * 0.9}, out=tmp_path / "run")
    # Before the search nothing is priced: latency and energy are known after it.
    assert isinstance(error.value, NothingFeasible) == (name in ("latency", "energy"))
    assert list(tmp_path.iterdir()) == []
    nearest = float(re.search(r"nearest feasible value is (\S+)", str(error.value))[1])
    # That of a bit map on a design that `evaluate` calls feasible; a search finds it too.
    assert least <= nearest <= least * 1.0002
    if name == "area":
        assert len(explored(tiny, strategy="exhaustive", limits={name: nearest}).front)


def test_limits_that_exclude_each_other_are_all_named(tiny, every):
    least = kept(every)[["latency_s", "area_mm2"]].min()
    slow = kept(every).loc[kept(every)["area_mm2"] == least["area_mm2"], "latency_s"].min()
    assert slow > least["latency_s"]
    with pytest.raises(NothingFeasible) as error:
        explored(
            tiny, strategy="exhaustive", limits={"latency": (slow + least["latency_s"]) / 2, "area": least["area_mm2"]}
        )
    assert {problem.where for problem in error.value.problems} == {"--max-latency", "--max-area"}


def test_a_limit_with_a_confidence_is_a_limit_on_the_predicted_drop(tiny, exhaustive):
    """Of all maps whose drop keeps the limit with that probability, the found ones are those of the plain limit that it amounts to."""
    errors = dse.load_profile(tiny[1], dse.load_workload(tiny[0])).error_model
    for confidence in (0.79, 0.9):
        limit = 1.0 + float(errors.margin(1.0, confidence, picked=True))
        run = explored(tiny, strategy="exhaustive", max_accuracy_drop=limit, confidence=confidence)
        assert limit > 1.0
        assert (run.front["accuracy_drop_high_pp"] <= limit + 1e-9).all()
        assert (run.front["accuracy_drop_low_pp"] < run.front["accuracy_drop_pp"]).all()
        assert run.front[COSTS].to_numpy().tolist() == exhaustive.front[COSTS].to_numpy().tolist()
    robust = explored(tiny, strategy="exhaustive", max_accuracy_drop=limit, confidence=None, robust=True)
    assert robust.info["confidence"] == 0.79
    assert (robust.front["accuracy_drop_high_pp"] <= limit + 1e-9).all()


def test_a_limit_below_what_the_error_allows_names_the_nearest_with_and_without_confidence(tiny):
    with pytest.raises(InputError) as error:
        explored(tiny, strategy="exhaustive", max_accuracy_drop=0.3, confidence=0.9)
    assert not isinstance(error.value, NothingFeasible)
    found = re.search(r"nearest feasible value is (\S+) \(predicted alone, --confidence 0.5: (\S+)\)", str(error.value))
    sure, even = float(found[1]), float(found[2])
    assert even < 0.3 < sure
    assert len(explored(tiny, strategy="exhaustive", max_accuracy_drop=sure, confidence=0.9).front)
    assert len(explored(tiny, strategy="exhaustive", max_accuracy_drop=even, confidence=0.5).front)
    with pytest.raises(InputError, match="nearest feasible value"):
        explored(tiny, strategy="exhaustive", max_accuracy_drop=sure - 0.002, confidence=0.9)


def test_a_predictor_that_cannot_tell_the_limit_is_said_first(tiny, tmp_path):
    text = tiny[1].read_text().replace("value: 69.0, both: [8, 8, 4]", "value: 66.0, both: [8, 8, 4]")
    loud = tmp_path / "loud.yaml"
    loud.write_text(text)
    run = explored(tiny, profile=loud, trials=2)
    assert run.notes[0].startswith("WARNING: the error of tiny's predictor")
    assert "exceeds the limit of 1" in run.notes[0]
    with pytest.raises(InputError, match="nearest feasible value"):
        explored(tiny, profile=loud, trials=2, confidence=0.9)


@pytest.mark.parametrize("asked", [{"confidence": 0.4}, {"confidence": 1.0}, {"confidence": 0.9, "robust": True}])
def test_confidence_is_a_probability_of_at_least_one_half(tiny, asked):
    with pytest.raises(InputError, match="--confidence"):
        explored(tiny, trials=2, **{"confidence": None, **asked})


def test_a_superset_space_and_a_looser_limit_are_never_worse(tiny, exhaustive):
    part = tiny[2].with_values({"memories.dram.bandwidth_bits_per_cycle": 128})
    smaller = explored(tiny, strategy="exhaustive", hardware=part).front[COSTS].to_numpy()
    larger = exhaustive.front[COSTS].to_numpy()
    for row in smaller:
        assert (larger <= row * (1 + 1e-12)).all(axis=1).any()
    before = None
    for limit, widths in ((0.6, (4, 8)), (0.6, WIDTHS), (1.0, WIDTHS), (2.0, range(2, 9))):
        known = (limit, widths) == (1.0, WIDTHS)
        run = exhaustive if known else explored(tiny, strategy="exhaustive", max_accuracy_drop=limit, widths=widths)
        grouped = run.designs.groupby(SPACE)
        each = {
            weight: grouped.apply(lambda rows, weight=weight: weighted(exhaustive, rows, weight).min())
            for weight in (*FIXED_WEIGHTS, EXHAUSTIVE_WEIGHT)
        }
        covered = hypervolume(run.front[COSTS].to_numpy() / exhaustive.problem.reference[:3], np.ones(3))
        if before is not None:
            for weight, least in each.items():
                assert (least <= before[0][weight] * (1 + 1e-12)).all()
            assert covered >= before[1] * (1 - 1e-12)
        before = each, covered


def test_errors_that_are_those_of_another_profile_are_said(tiny, tmp_path):
    network, profile, hardware = tiny
    path = tmp_path / "borrowed.yaml"
    text = profile.read_text().replace("prediction:\n", f"prediction:\n  errors_of: {profile}\n")
    path.write_text(text.replace("- {name: n,", "# - {name: n,"))
    run = dse.explore(network, hardware, profile=path, max_accuracy_drop=3.0, confidence=0.6, trials=1)
    said = " ".join(run.notes)
    assert "The errors are those of another profile: tiny has 3 whole plans only" in said
