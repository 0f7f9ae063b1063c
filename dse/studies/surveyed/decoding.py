"""Progressive mixed-precision decoding (Chen et al., ICLR 2025, arXiv 2410.13461): widths of the weights fall along an answer.

Theirs: weights of 4 bits or fewer after prefill, in ever fewer bits the further an answer goes; on an NPU for language models 3.8
to 8.0 times the throughput of FP16 and up to 1.54 times that of one width throughout. The rule is
:func:`dse.precision.policies.surveyed.decoding_widths`. An answer is inference over time, so a schedule's histogram prices it.
"""

from __future__ import annotations

import numpy as np

from dse.cost import evaluate
from dse.hardware.model import Hardware
from dse.precision.policies.surveyed import decoding_widths
from dse.studies.devices import flexible
from dse.studies.study import Claim, Study, bars
from dse.workload import load_workload
from dse.workload.model import Network

NETWORK = "llama3_8b_decode"
TOKENS = 256
#: Widths along an answer and the share of it at which each further one begins.
COURSES = {
    "4 bits": ((4,), ()),
    "4 to 3 bits": ((4, 3), (0.5,)),
    "4 to 2 bits": ((4, 3, 2), (1.0 / 3.0, 2.0 / 3.0)),
    "3 to 2 bits": ((3, 2), (0.5,)),
    "2 bits": ((2,), ()),
}
#: Published gains in throughput over FP16, and the largest over one width throughout.
OVER_FP16, OVER_UNIFORM = (3.8, 8.0), 1.54
#: Width of everything but the weights of products, bits.
WIDE = 16


def token_seconds(network: Network, hardware: Hardware) -> dict[int, float]:
    """Seconds per token with weights of 16, 4, 3 and 2 bits; activations, keys and values have 16."""
    widths = (WIDE, 4, 3, 2)
    total = evaluate(
        network, hardware, [f"w{bits}a{WIDE}" for bits in widths], mode="inference", search_mappings=False
    ).total
    return dict(zip(widths, total["latency_s"].astype(float).tolist(), strict=True))


def answer_seconds(seconds: dict[int, float], course: str) -> float:
    """Seconds of an answer of :data:`TOKENS` tokens along a course."""
    widths, shares = COURSES[course]
    found = decoding_widths(TOKENS, widths, [round(share * TOKENS) for share in shares])
    return float(
        sum(seconds[int(bits)] * count for bits, count in zip(*np.unique(found, return_counts=True), strict=True))
    )


def study() -> Study:
    """Throughput over 16 bits and over the width that an answer begins with."""
    network, hardware = load_workload(NETWORK), flexible()
    seconds = token_seconds(network, hardware)
    wide = TOKENS * seconds[WIDE]
    where = f"{NETWORK} on {hardware.name}"
    assumed = f"half or a third of {TOKENS} tokens in each width; activations, keys and values in {WIDE} bits; no cost of switching"
    rows, chart = [], {}
    for course in COURSES:
        ours = wide / answer_seconds(seconds, course)
        chart[course] = ours
        least, most = OVER_FP16 if len(COURSES[course][0]) > 1 else (None, None)
        rows.append(
            Claim(
                f"PMPD, {course}", "throughput over 16 bits", "x", ours, least, most, assumed=assumed, subject=where,
                key=("over 16 bits", course),
            )
        )  # fmt: skip
    best = max(chart[course] / chart[f"{COURSES[course][0][0]} bits"] for course in ("4 to 3 bits", "4 to 2 bits"))
    rows.append(
        Claim(
            "PMPD", "throughput over one width throughout, at most", "x", best, OVER_UNIFORM,
            assumed="against 4 bits throughout, the width that keeps the quality of these answers", subject=where,
            key=("over uniform",),
        )
    )  # fmt: skip
    rows.append(
        Claim(
            "PMPD", "matrix-vector products over FP16 on GPUs", "x", None, 1.4, 12.2,
            assumed="the GPU files multiply no weights below 4 bits",
        )
    )  # fmt: skip
    return Study(
        "progressive_decoding",
        "Progressive mixed-precision decoding: widths that fall along an answer",
        "H. M. Chen et al., Progressive Mixed-Precision Decoding for Efficient LLM Inference, ICLR 2025, "
        "arXiv 2410.13461; abstract",
        (
            f"Decoding reads every weight once per token: from {WIDE} bits to 4 to 2 bits along an answer it runs "
            f"{chart['4 to 2 bits']:.2f} times as fast, within the published {OVER_FP16[0]} to {OVER_FP16[1]}.",
            f"Over 4 bits throughout it gains {best:.2f} times, against {OVER_UNIFORM} at most in the publication.",
        ),
        tuple(rows),
        (("Throughput of an answer", bars({"over 16 bits": chart}, "times 16 bits")),),
        "the rule, the gains",
        "courses of the widths, network, hardware, mapping and memory; quality is not modelled",
    )
