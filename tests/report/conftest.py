"""A made-up run folder in the form of a real one: 300 designs x 21 layers x 3 passes, with a front that is a front."""

import json

import numpy as np
import pandas as pd
import pytest

LAYERS = ["conv1", *(f"layer{s}.{b}.conv{c}" for s in (1, 2, 3, 4) for b in (0, 1) for c in (1, 2)),
          *(f"layer{s}.0.downsample.0" for s in (2, 3, 4)), "fc"]  # fmt: skip
PASSES = ["forward", "backward_data", "backward_weight"]
FORMATS = {2: "int2", 4: "int4", 6: "int6", 8: "int8"}


def build(folder, front=300, kept=2000, seed=0, **changes):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans").mkdir(exist_ok=True)
    total = max(front, kept)
    t = np.concatenate([np.linspace(0, 1, front), rng.random(total - front)])
    worse = np.concatenate([np.ones(front), 1 + rng.exponential(0.5, total - front)])
    designs = pd.DataFrame(
        {
            "design": [f"d{row:05d}" for row in range(total)],
            "latency_s": 0.05 * np.exp(2.0 * t) * worse,
            "energy_j": 3.0 * np.exp(-1.2 * t) * worse,
            "area_mm2": 4.0 + 20 * (1 - t) * worse,
            "accuracy_drop_pp": np.clip(0.3 + 0.7 * rng.random(total), 0, 1),
            "certificate_gap": np.where(rng.random(total) < 0.9, 0.0, 3e-4),
            "feasible": True,
            "array.rows": rng.choice([16, 32, 64, 128], total),
            "array.columns": rng.choice([16, 32, 64, 128], total),
            "memories.buffer.capacity_bits": rng.choice([2**20, 2**22, 2**24], total),
            "memories.dram.bandwidth_bits_per_cycle": rng.choice([64, 128, 256, 512], total),
        }
    )
    designs.to_csv(folder / "designs.csv", index=False)
    table = designs.iloc[:front]
    table.to_csv(folder / "front.csv", index=False)
    bits, layers, areas = [], [], []
    for row in table.itertuples():
        widths = rng.choice([2, 4, 6, 8], len(LAYERS), p=[0.1, 0.4, 0.2, 0.3])
        lines = ["network: imagenet_resnet", "weight:"]
        for layer, width in zip(LAYERS, widths, strict=True):
            lines.append(f"  {layer}: {FORMATS[width]}")
            for operand, bit in (("weight", width), ("activation", width), ("error", 8)):
                bits.append((row.design, layer, operand, FORMATS[bit], bit))
        (folder / "plans" / f"{row.design}.yaml").write_text("\n".join(lines) + "\n")
        for part, share in (("PE array", 0.55), ("buffer", 0.35), ("vector unit", 0.04), ("overhead", 0.06)):
            areas.append((row.design, part, row.area_mm2 * share))
        share = rng.dirichlet(np.ones(len(LAYERS) * 3)) + 0.004
        share /= share.sum()
        for n, (layer, name) in enumerate((layer, name) for layer in LAYERS for name in PASSES):
            parts = rng.dirichlet([4, 2, 2, 5, 0.3]) * share[n] * row.energy_j
            macs = 256 * 1.8e9 / 21
            bound = ["compute", "dram", "buffer"][int(rng.integers(3))]
            layers.append((row.design, layer, name, share[n] * row.latency_s, parts.sum(), bound, macs,
                           macs / 10 ** rng.uniform(1, 3), *parts))  # fmt: skip
        layers.append((row.design, "layer1.0.relu", "forward", 1e-4, 1e-4, "vector", 0, 1e8, 0, 0, 0, 8e-5, 2e-5))
    names = ["mac_j", "register_j", "buffer_j", "dram_j", "vector_j"]
    pd.DataFrame(bits, columns=["design", "layer", "operand", "format", "bits"]).to_csv(
        folder / "bits.csv", index=False
    )
    pd.DataFrame(
        layers, columns=["design", "layer", "pass", "latency_s", "energy_j", "bound", "macs", "dram_bits", *names]
    ).to_csv(folder / "layers.csv", index=False)
    pd.DataFrame(areas, columns=["design", "part", "area_mm2"]).to_csv(folder / "area.csv", index=False)
    info = {**INFO, "baselines": baselines(table), **changes}
    info["counts"] = {"trials": 200, "hardware_designs": 180, "designs_kept": total, "front": front}
    (folder / "run.json").write_text(json.dumps(info))
    return folder


def baselines(front):
    if not len(front):
        return []
    middle = front.iloc[len(front) // 2]
    picks = {"knee": middle, "fastest": front.iloc[0], "lowest-energy": front.iloc[-1]}
    return [
        {"name": f"uniform {bits} bit", "role": role, "design": row.design, "latency_s": row.latency_s * bits / 4,
         "energy_j": row.energy_j * bits / 3, "area_mm2": row.area_mm2, "accuracy_drop_pp": 0.05 if bits == 8 else None,
         "feasible": True, "note": f"same hardware as {row.design}, the {role} design"}
        for role, row in picks.items() for bits in (8, 16)
    ]  # fmt: skip


INFO = {
    "name": "imagenet_resnet", "dse_version": "0.1.0", "model_version": "1", "command": "dse explore imagenet_resnet --seed 0",
    "per": "training step of 256 samples", "mode": "training",
    "workload": {"name": "imagenet_resnet", "path": "imagenet_resnet.yaml", "source": "He et al., CVPR 2016", "batch": 256,
                 "samples": 1281167, "epochs": 90, "optimizer": "momentum", "macs": 1814073344, "parameters": 11689512,
                 "layers": 21},
    "hardware": {"name": "flex_trainer", "description": "bit-composable training array", "path": "flex_trainer.yaml",
                 "sources": {"clock_hz": "Bit Fusion, ISCA 2018"},
                 "space": [{"name": "array.rows", "values": [16, 32, 64, 128], "default": 64},
                           {"name": "array.columns", "values": [16, 32, 64, 128], "default": 64}]},
    "profile": {"name": "imagenet_resnet", "source": "HAWQ-V3", "loo_error_pp": 0.21, "noise_floor_pp": 0.1,
                "score_range": [0, 2], "unit": "points of top-1", "assumptions": ["Error tensors at 8 bits cost no accuracy."]},
    "max_accuracy_drop_pp": 1.0, "objectives": ["latency_s", "energy_j", "area_mm2"], "strategy": "nested", "sampler": "tpe",
    "seed": 0, "trials": 200, "jobs": 1, "started": "2026-01-31T10:00:00+00:00", "seconds": 41.2,
    "versions": {"python": "3.11.7", "numpy": "2.4"}, "certificate": {"worst_gap": 0.0, "text": "Every bit map is proven optimal."},
    "hypervolume": 1.25, "reference": {"latency_s": 1.0, "energy_j": 9.0},
    "left_out": ["Network on chip between arrays.", "Voltage scaling."], "assumptions": ["Batch norm is not folded in training."],
    "notes": ["Error tensors: 8 bits can keep the limit of 1 points of top-1."],
    "validation": [{"source": "Eyeriss, JSSC 2017", "quantity": "AlexNet latency (s)", "published": 0.1159, "ours": 0.103,
                    "signed_error": -0.111, "tolerance": 0.15, "note": "ramp-up is left out"}],
}  # fmt: skip


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("runs") / "resnet")


@pytest.fixture(scope="session")
def build_run():
    return build
