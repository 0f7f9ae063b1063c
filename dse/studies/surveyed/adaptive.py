"""Systems that choose widths by what training shows: activation density, class difficulty, gradient hypernetworks, group shifts.

Activation density (Vasquez et al., DATE 2021, arXiv 2101.04354): a layer's width shrinks with the share of its activations that are
not zero. Class difficulty (Jo and Park, ISOCC 2022): classes that are learned run in few bits. Metagrad (Xu et al., ICASSP 2023,
arXiv 2303.02347): INT4 gradients by a hypernetwork. Sub-8-bit integer training (Guo et al., arXiv 2411.10948): ShiftQuant and L1
norms. InstantNet (Fu et al., DAC 2021, arXiv 2104.10853): one network at many widths. A fully quantized training accelerator for
diffusion networks (Liu et al., IEEE TCAS-II 71(12) 2024): widths by tensor and noise. The rules are functions of
:mod:`dse.precision.policies.surveyed`.
"""

from __future__ import annotations

from collections.abc import Sequence

from dse.hardware.model import Hardware
from dse.precision import Schedule
from dse.precision.policies.surveyed import density_bits
from dse.studies.devices import flexible
from dse.studies.study import Claim, Study, bars, rows_of
from dse.studies.surveyed.ratios import Relative, relative_chart, relative_rows
from dse.workload import load_workload

NETWORK = "cifar_resnet20"
ITERATIONS = 64_000
#: Activation density: published gain in MACs x bits, in energy of a processing-in-memory array against 16 bits, and in training.
DENSITY_MACS, DENSITY_ENERGY, DENSITY_TRAINING = 4.5, 5.0, 50.0
#: Width that a layer starts with (theirs), bits.
DENSITY_START = 16
#: Class difficulty: published gain in compression against 8-bit weights and activations and 16-bit gradients.
CLASS_GAIN = 1.33
#: Published drops of top-1, points.
DROPS = (
    ("Metagrad, INT4 gradients", 0.64, "VGG-16, CIFAR-10"),
    ("ShiftQuant, 4 bits", 0.92, "ResNets"),
    ("ShiftQuant, 6 bits", 0.61, "transformers"),
)
#: ShiftQuant: published gain over FP16 in speed on a CPU, and in resources of an FPGA, percent.
SHIFT_CPU, SHIFT_FPGA = 1.85, 33.9
#: Systems of which only claims can stand here: quantity, unit, published, why.
CLAIMED = (
    (
        "InstantNet",
        "energy-delay product saved against expert mappings, at most",
        "%",
        84.68,
        "which mappings is not public",
    ),
    ("InstantNet", "frames per second on ImageNet", "x", 1.86, "which networks it was held against is not public"),
    (
        "Diffusion training accelerator",
        "training speed, at most",
        "x",
        2.4,
        "its schedule by noise strength is not public",
    ),
    (
        "Diffusion training accelerator",
        "width of operations saved",
        "%",
        81.0,
        "its schedule by noise strength is not public",
    ),
)


def class_share(gain: float = CLASS_GAIN) -> float:
    """Share of samples that must run in half the bits for a gain in compression: 1 / gain = 1 - share / 2."""
    return 2.0 * (1.0 - 1.0 / gain)


def density_of(gain: float = DENSITY_MACS) -> float:
    """Mean density at which widths of round(16 density) give a gain in MACs x bits, the width of a product being the weight's.

    Theirs counts a k-bit MAC as k / 32 of one of 32 bits, so that against 16 bits the gain is 16 / k.
    """
    return 1.0 / gain


def schedules() -> dict[str, Relative]:
    """What each system does over a run of :data:`ITERATIONS`."""
    easy = round(class_share() * ITERATIONS)
    bits = density_bits(DENSITY_START, density_of())
    return {
        "Activation density": Relative(
            Schedule.piecewise([(1, "w16a16e16"), (1, f"w{bits}a{bits}e16")], ITERATIONS // 2),
            f"16 bits for half of the run, then the {bits} bits that the claimed gain in MACs stands for; errors stay at 16",
            base="w16a16e16",
            wide=True,
        ),
        "Class difficulty": Relative(
            Schedule.piecewise([(easy, "w4a4e8"), (ITERATIONS - easy, "w8a8e16")]),
            f"{100.0 * class_share():.0f} % of the samples in half the bits, which give the claimed compression",
            base="w8a8e16",
            wide=True,
        ),
        "Metagrad": Relative(
            Schedule.static("w8a8e4", ITERATIONS), "8 bits forward are ours; the hypernetwork's own work is left out"
        ),
        **{
            f"ShiftQuant, {width} bits": Relative(
                Schedule.static(f"w{width}a{width}e{width}", ITERATIONS), SHIFTED, base="w16a16e16", wide=True
            )
            for width in (4, 6)
        },
    }


#: What rows of ShiftQuant rest on.
SHIFTED = "integers with power-of-two group scales, whose shifts are left out; 16-bit integers stand for FP16"


def study(hardware: Sequence[Hardware] = ()) -> Study:
    """What the published gains become in time and energy, and what of them this model cannot express."""
    network = load_workload(NETWORK)
    rows = [*_published_rows()]
    for name, item in schedules().items():
        base = Schedule.static(item.base, ITERATIONS)
        rows += relative_rows(name, network, hardware or item.devices, item.schedule, base, item.assumed)
    device = flexible().name
    chart = relative_chart(rows, list(schedules()), device)
    density = rows_of(rows, "Activation density", "energy_j", device)[0].ours or 1.0
    return Study(
        "adaptive_relatives",
        "Widths by what training shows: activation density, class difficulty, Metagrad, sub-8-bit integers",
        "abstracts of arXiv 2101.04354, 2303.02347, 2411.10948, 2104.10853, of ISOCC 2022 and IEEE TCAS-II 71(12) 2024",
        (
            f"Activation density: the claimed {DENSITY_ENERGY:.0f} times less energy is that of inference on an array that "
            f"computes in memory; training half of the run at 16 bits takes {density:.2f} of the energy of 16 bits "
            f"throughout on {device}, which moves data as well.",
            f"Class difficulty: a compression of {CLASS_GAIN} is half the bits for {100.0 * class_share():.0f} % of samples.",
            f"ShiftQuant's {SHIFT_CPU} times on a CPU and {SHIFT_FPGA} % fewer resources of an FPGA are of devices that no file "
            "here describes.",
        ),
        tuple(rows),
        (("Costs on " + device + ", relative to what each is compared with", bars(chart, "relative")),),
        "rules, gains and drops of the abstracts",
        "formats of the rest of each step, the course of widths over a run, network, hardware, mapping and memory",
    )


def _published_rows() -> list[Claim]:
    bits = density_bits(DENSITY_START, density_of())
    rows = [
        Claim(
            "Activation density", "MACs x bits against 16 bits", "x", None, DENSITY_MACS,
            assumed=f"densities of its runs are not public; {bits} bits in all layers come nearest",
            subject="VGG-19 and ResNet-18, inference",
        ),
        Claim(
            "Activation density", "energy against 16 bits in a memory array", "x", None, DENSITY_ENERGY,
            assumed="computing in memory is no element here",
        ),
        Claim(
            "Activation density", "training complexity saved", "%", None, DENSITY_TRAINING,
            assumed="the densities of its runs are not public",
        ),
        Claim(
            "Class difficulty", "compression against w8a8, 16-bit gradients", "x", None, CLASS_GAIN,
            assumed="its widths and shares are not public; the rows of cost take the share that gives it",
            subject="ResNet-20, CIFAR-10",
        ),
        Claim("ShiftQuant", "speed against FP16 on a CPU", "x", None, SHIFT_CPU, assumed="a CPU is no hardware file here"),
        Claim("ShiftQuant", "resources of an FPGA saved against FP16", "%", None, SHIFT_FPGA, assumed="an FPGA is none either"),
    ]  # fmt: skip
    return [
        *rows,
        *(Claim(system, what, unit, None, published, assumed=why) for system, what, unit, published, why in CLAIMED),
        *(Claim(system, "top-1 lost", "points", published=drop, subject=subject) for system, drop, subject in DROPS),
    ]
