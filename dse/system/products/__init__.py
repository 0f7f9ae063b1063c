"""Time of matrix products on GPUs by format, and of the kernels that quantize for them."""

from dse.system.products.kernels import LAUNCH_S, TORCHAO_KERNELS, Kernel, kernel_s
from dse.system.products.times import (
    RECIPES,
    Recipe,
    multiplies,
    product_s,
    quantized_product_s,
    quantizing_s,
)

__all__ = [
    "LAUNCH_S",
    "RECIPES",
    "TORCHAO_KERNELS",
    "Kernel",
    "Recipe",
    "kernel_s",
    "multiplies",
    "product_s",
    "quantized_product_s",
    "quantizing_s",
]
