"""Formats and arithmetic: what elements and tensors of published number systems cost here beside what was published of them.

VS-Quant (Dai et al., MLSys 2021, arXiv 2102.04503): integers with a scale per vector. S2FP8 (Cambier et al., ICLR 2020). Encoding
decomposition of {-1, +1} (Sun et al., AAAI 2019, arXiv 1905.13389): M x K binary products for M-bit by K-bit ones. n-hot (Sakuma et
al., arXiv 2103.11704): sums of n powers of two. F8Net (Jin et al., ICLR 2022): 8-bit fixed point throughout, scales are shifts.
BF16 FMA (Osorio et al., IEEE TETC 10(3) 2022): sums in BF16 too. A2Q (Colbert et al., ICCV 2023, arXiv 2308.13504): accumulators
that no input overflows. CANET (Yang et al., IEEE Access 12, 2024): accumulators of eight bits that count their carries.
"""

from __future__ import annotations

from dataclasses import replace

from dse.hardware import load_hardware
from dse.hardware.model import Hardware, ProcessingElement
from dse.hardware.pe import mac_energy_pj, pe_area_mm2, pe_mode
from dse.hardware.prices.arithmetic import int_add_pj, int_multiply_pj
from dse.precision.policies.surveyed import accumulator_bits, n_hot_storage_bits
from dse.studies.devices import SHARED, float32
from dse.studies.study import Claim, Study, bars
from dse.studies.surveyed.ratios import Side, relative
from dse.workload import load_workload

#: VS-Quant: published savings of 4 bits over 8 on ResNet-50, percent: area, energy (arXiv's abstract and that of the proceedings).
VSQ_AREA, VSQ_ENERGY = (36.0, 37.0), (24.0, 69.0)
#: n-hot: published share of operations and of the model's size that is saved, percent, and points lost.
HOT_OPERATIONS, HOT_SIZE, HOT_LOST = 75.0, 11.5, 0.3
HOT_TERMS, HOT_BITS = 2, 8
#: A2Q: published reduction of an FPGA's resources against 32-bit accumulators, at most, and the accuracy that is kept, percent.
A2Q_GAIN, A2Q_KEPT = 2.3, 99.2
#: Widths of A2Q's rows here, bits, and the longest sum of ResNet-18.
A2Q_BITS, A2Q_TERMS = 4, 4608
#: CANET: published savings of a MAC with 8-bit accumulators over 32-bit ones, percent: power, area.
CANET = {"power": 40.0, "area": 49.0}
#: BF16 FMA: published gain in speed over FP32 on a CPU, ResNet-101.
BF16_SPEED = (1.28, 1.35)


def vector_scaled() -> tuple[Hardware, Hardware]:
    """8-bit integer elements, and 4-bit ones with an integer scale per vector of 16, in one array."""
    hardware = load_hardware(SHARED)
    plain = ProcessingElement("fixed", max_weight_bits=8, max_activation_bits=8, accumulator_bits=24)
    scaled = ProcessingElement(
        "bfp", max_weight_bits=4, max_activation_bits=4, min_bits=4, block=16, scale_bits=6, accumulator_bits=24
    )
    return (
        replace(hardware, name="8-bit integers", pe=plain),
        replace(hardware, name="4-bit vectors with scales", pe=scaled),
    )


def study() -> Study:
    """Elements and formats side by side with what was published."""
    rows = [
        *_vsq_rows(),
        *_s2fp8_rows(),
        *_decomposition_rows(),
        *_hot_rows(),
        *_f8net_rows(),
        *_bf16_rows(),
        *_a2q_rows(),
        *_canet_rows(),
    ]
    chart = {row.subject: row.ours for row in rows if row.key[:1] == ("figure",) and row.ours is not None}
    sure = accumulator_bits(A2Q_TERMS, A2Q_BITS, A2Q_BITS)
    return Study(
        "arithmetic",
        "Formats and arithmetic: VS-Quant, S2FP8, {-1, +1}, n-hot, F8Net, BF16 FMA, A2Q, CANET",
        "abstracts of arXiv 2102.04503, 2001.05674, 1905.13389, 2103.11704, 2202.05239, 2308.13504 and IEEE TETC 10(3) 2022",
        (
            "VS-Quant's two abstracts state different savings (37 % area and 24 % energy; 36 % and 69 %): rows have both.",
            f"A sum of {A2Q_TERMS:,} products of {A2Q_BITS}-bit operands needs {sure} bits to be safe by its types "
            f"alone; A2Q trains weights so small that fewer are, at {A2Q_KEPT} % of the accuracy in the mean.",
            "n-hot: two terms of an 8-bit word are a quarter of the shifts and additions; its values need "
            f"{n_hot_storage_bits(HOT_TERMS, HOT_BITS)} bits.",
        ),
        tuple(rows),
        (("Energy or area against what each is compared with", bars({"relative": chart}, "relative")),),
        "formats, bounds, operations and savings of the publications",
        "elements, arrays and networks; prices of operations of this model",
    )


def _vsq_rows() -> list[Claim]:
    network = load_workload("imagenet_resnet50")
    plain, scaled = vector_scaled()
    costs = relative(Side(network, scaled, "vsq4", mode="inference"), Side(network, plain, "w8a8", mode="inference"))
    area = 1.0 - float(pe_area_mm2(scaled.pe)) / float(pe_area_mm2(plain.pe))
    assumed = (
        "elements of 4 bits, integer sums in a vector of 16, a 6-bit scale; the array and memories of dynasty_like"
    )
    return [
        Claim("VS-Quant 4/4", "area saved by the elements against 8/8", "%", 100.0 * area, *VSQ_AREA,
              assumed=f"{assumed}; theirs is of the whole accelerator", subject="VS-Quant, area", key=("vsq", "area")),
        Claim("VS-Quant 4/4", "energy saved against 8/8", "%", 100.0 * (1.0 - costs["energy_j"]), *VSQ_ENERGY,
              assumed=f"{assumed}; DRAM included, theirs is without", subject="imagenet_resnet50, inference",
              key=("vsq", "energy")),
        Claim("VS-Quant 4/4", "energy against 8/8", "x", costs["energy_j"], assumed=assumed, subject="VS-Quant, energy",
              key=("figure", "vsq")),
        Claim("VS-Quant 4/4", "top-1, at least", "%", published=75.0, subject="ResNet-50 on ImageNet"),
    ]  # fmt: skip


def _s2fp8_rows() -> list[Claim]:
    network, hardware = load_workload("cifar_resnet20"), float32()
    costs = relative(Side(network, hardware, "s2fp8"), Side(network, hardware, "fp32"))
    assumed = "stored in 8 bits; squeezed values are spread out before they are multiplied, on FP32 elements; no cost was published"
    where = f"{network.name} on {hardware.name}"
    return [
        Claim("S2FP8", f"{label} against FP32", "x", costs[key], assumed=f"{where}; {assumed}",
              subject=f"S2FP8, {label}", key=("figure", "s2fp8", key))
        for key, label in (("latency_s", "time"), ("energy_j", "energy"))
    ]  # fmt: skip


def _decomposition_rows() -> list[Claim]:
    pe = ProcessingElement("bit_serial_2d", max_weight_bits=8, max_activation_bits=8, min_bits=1)
    return [
        Claim("{-1, +1} decomposition", "binary products of a product", "", float(pe_mode(pe, bits, bits).step_cycles),
              assumed="steps of an element serial in both operands; the publication's product of M by K bits has M K branches",
              subject=f"{bits} by {bits} bits", key=("decomposition", str(bits)))
        for bits in (1, 2, 4)
    ]  # fmt: skip


def _hot_rows() -> list[Claim]:
    saved = 100.0 * (1.0 - HOT_TERMS / HOT_BITS)
    smaller = 100.0 * (1.0 - n_hot_storage_bits(HOT_TERMS, HOT_BITS) / HOT_BITS)
    what = f"{HOT_TERMS} of {HOT_BITS} bits"
    return [
        Claim("n-hot", "shifts and additions saved against uniform", "%", saved, HOT_OPERATIONS, subject=what,
              assumed="terms and bits are those that give the claim, which the abstract does not name",
              key=("hot", "operations")),
        Claim("n-hot", "model size saved", "%", smaller, HOT_SIZE, subject=what,
              assumed="the same terms and bits, whole bits per weight, in all layers", key=("hot", "size")),
        Claim("n-hot", "accuracy lost, at most", "points", published=HOT_LOST, subject="CenterNet on COCO"),
    ]  # fmt: skip


def _f8net_rows() -> list[Claim]:
    """Rescaling a 32-bit sum to eight bits: a 32-bit multiplication and a rounding addition, or the addition alone."""
    multiplied = float(int_multiply_pj(32, 32) + int_add_pj(32))
    shifted = float(int_add_pj(32))
    return [
        Claim("F8Net", "energy of rescaling a sum, by shift against 32-bit multiplication", "x", shifted / multiplied,
              assumed="a shift by a constant of the layer is wires; operations of Horowitz, ISSCC 2014", subject="F8Net, rescaling",
              key=("figure", "f8net")),
    ]  # fmt: skip


def _bf16_rows() -> list[Claim]:
    def element(significand: int, accumulator: int) -> ProcessingElement:
        return ProcessingElement(
            "float", max_weight_bits=significand, max_activation_bits=significand, significand_bits=significand,
            exponent_bits=8, min_bits=1, accumulator_bits=accumulator,
        )  # fmt: skip

    full, mixed, narrow = element(24, 32), element(8, 32), element(8, 16)
    assumed = "operations of Horowitz, ISSCC 2014, by width"
    base = float(mac_energy_pj(full, 24, 24))
    rows = [
        Claim("BF16 FMA", "energy of an FMA against FP32", "x", float(mac_energy_pj(pe, 8, 8)) / base, assumed=assumed,
              subject=name, key=("figure", name))
        for name, pe in (("BF16 products, FP32 sums", mixed), ("BF16 throughout", narrow))
    ]  # fmt: skip
    return [
        *rows,
        Claim("BF16 FMA", "area of an FMA against FP32", "x", float(pe_area_mm2(narrow)) / float(pe_area_mm2(full)),
              assumed=f"{assumed}; of the unit as wide as its operands", subject="BF16, area", key=("figure", "area")),
        Claim("BF16 FMA", "speed against FP32 on a CPU", "x", None, *BF16_SPEED, subject="ResNet-101",
              assumed="a CPU is no hardware file here"),
    ]  # fmt: skip


def _a2q_rows() -> list[Claim]:
    def element(accumulator: int) -> ProcessingElement:
        return ProcessingElement(
            "fixed", max_weight_bits=A2Q_BITS, max_activation_bits=A2Q_BITS, accumulator_bits=accumulator
        )

    rows = [
        Claim("A2Q", "resources of an FPGA against 32-bit accumulators, at most", "x", None, A2Q_GAIN,
              assumed="an FPGA is no hardware file here"),
        Claim("A2Q", "accuracy kept", "%", published=A2Q_KEPT, subject="mean of its benchmarks"),
    ]  # fmt: skip
    wide = element(32)
    for bits in (24, accumulator_bits(A2Q_TERMS, A2Q_BITS, A2Q_BITS), 16):
        gain = float(mac_energy_pj(wide, A2Q_BITS, A2Q_BITS)) / float(mac_energy_pj(element(bits), A2Q_BITS, A2Q_BITS))
        rows.append(
            Claim("A2Q", "energy of a MAC with 32-bit sums over that with narrow ones", "x", gain,
                  assumed=f"{A2Q_BITS}-bit operands", subject=f"{bits}-bit sums", key=("a2q", str(bits)))
        )  # fmt: skip
    return rows


def _canet_rows() -> list[Claim]:
    """A product of two bytes has 16 bits: narrower sums drop what the carries cost, which the element here does not price."""
    wide, narrow = (
        ProcessingElement("fixed", max_weight_bits=8, max_activation_bits=8, accumulator_bits=bits) for bits in (32, 8)
    )
    saved = 1.0 - float(mac_energy_pj(narrow, 8, 8)) / float(mac_energy_pj(wide, 8, 8))
    return [
        Claim("CANET", "power of a MAC saved against 32-bit sums", "%", 100.0 * saved, CANET["power"], subject="8-bit operands",
              assumed="energy of an addition as wide as the product; its carry counters are left out", key=("canet", "power")),
        Claim("CANET", "area of a MAC saved against 32-bit sums", "%", None, CANET["area"], subject="8-bit operands",
              assumed="the area of a fixed element here does not follow the width of its sums"),
    ]  # fmt: skip
