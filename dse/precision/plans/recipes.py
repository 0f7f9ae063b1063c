"""Plans by name that treat layers by what they are: low precision where products have weights, BF16 elsewhere.

Training libraries quantize linear layers alone. Products of two activations (attention) are parts of one kernel in 16
bits, and quantizing their operands costs more than it brings; embeddings, norms and the last layer with weights keep
BF16. Convolutions count as linear layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dse.names import MAC_OPERANDS
from dse.precision.plans.rules import Given, NamedNetwork, has_macs

#: What all other layers have.
PLAIN = "bf16"


@dataclass(frozen=True)
class LinearRecipe:
    """Formats of layers with weights, in the grammar of plans in short, and who trains so."""

    formats: str
    source: str


#: By the name of the plan.
LINEAR = {
    "fp8_linear": LinearRecipe(
        "fp8_e4m3:tensor,error=fp8_e5m2:tensor",
        "TransformerEngine, Float8CurrentScaling with the HYBRID formats: a scale per tensor, from the tensor itself",
    ),
    "fp8_block_linear": LinearRecipe(
        "fp8_e4m3:1x128,weight=fp8_e4m3:128x128",
        "DeepSeek-V3 (arXiv 2412.19437, section 3.3): 1 x 128 of activations and errors, 128 x 128 of weights",
    ),
    "mxfp8_linear": LinearRecipe("mxfp8_e4m3", "TransformerEngine, MXFP8BlockScaling: E4M3 everywhere, a scale per 32"),
    "nvfp4_linear": LinearRecipe(
        "nvfp4",
        "NVIDIA, Pretraining LLMs with NVFP4 (arXiv 2509.25149), which keeps some last blocks in BF16; this plan does not",
    ),
}


def linear_layers(net: NamedNetwork) -> tuple[str, ...]:
    """Layers whose products have weights, without the last of them; the last too where there is no other."""
    found = [layer.name for layer in net.layers if has_macs(layer) and getattr(layer, "kind", "") != "matmul"]
    return tuple(found[:-1] if len(found) > 1 else found)


def in_linear_layers(net: NamedNetwork, formats: Mapping[str, str]) -> dict[str, Given | Mapping[str, Given]]:
    """Formats by operand of a plan: those of a MAC's operands in linear layers alone, the others everywhere."""
    chosen = set(linear_layers(net))

    def row(form: str) -> dict[str, Given]:
        return {layer.name: form if layer.name in chosen else PLAIN for layer in net.layers}

    return {operand: row(form) if operand in MAC_OPERANDS else form for operand, form in formats.items()}
