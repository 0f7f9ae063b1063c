"""The space around a design: samples of it, and how large it is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from dse.hardware.model import Hardware


def sample_table(hardware: Hardware, n: int, seed: int) -> pd.DataFrame:
    """n designs drawn independently and uniformly from the values of every parameter; one column per parameter."""
    generator = np.random.default_rng(seed)
    columns = {parameter.name: generator.choice(parameter.values, n) for parameter in hardware.space}
    return pd.DataFrame(columns, index=range(n))


def grid_size(hardware: Hardware) -> int:
    """Number of designs in the space; 1 for a design without parameters."""
    return math.prod(len(parameter.values) for parameter in hardware.space)
