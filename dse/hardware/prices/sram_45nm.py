"""SRAM at 45 nm as CACTI 7 gives it: energy per bit and area by capacity and port width.

Source: CACTI 7 (HewlettPackard/cacti, commit 1ffd8df), run with the settings of the Bit Fusion simulator (hsharma35/bitfusion,
bitfusion/sram/sweep.cfg): scratchpad, one bank, one read and one write port, high-performance cells and periphery, 360 K, optimized
for energy times delay. The 32-bit column equals that simulator's own figures to every digit. nan: a port too wide for the capacity.
"""

from __future__ import annotations

import numpy as np

nan = np.nan

#: Width of one access.
PORT_BITS = np.array([32, 64, 128, 256, 512], dtype=np.float64)
#: 128 B to 8 MB.
CAPACITY_BITS = 8 * 2.0 ** np.arange(7, 24)
#: pJ per bit read, (capacity, port).
READ_PJ_PER_BIT = np.array(
    [
        [0.02137, nan, nan, nan, nan],
        [0.02329, 0.02303, nan, nan, nan],
        [0.02961, 0.02481, 0.02901, nan, nan],
        [0.03541, 0.0296, 0.03072, 0.04266, nan],
        [0.05947, 0.03577, 0.03475, 0.04433, 0.07119],
        [0.1072, 0.0631, 0.0411, 0.04798, 0.07285],
        [0.1997, 0.09305, 0.05608, 0.05442, 0.0763],
        [0.3119, 0.1728, 0.1032, 0.06845, 0.08279],
        [0.4568, 0.2813, 0.1971, 0.1299, 0.09634],
        [0.5996, 0.4339, 0.2886, 0.1832, 0.123],
        [0.858, 0.6123, 0.4772, 0.3454, 0.2395],
        [1.282, 0.8401, 0.6598, 0.5207, 0.4098],
        [1.79, 1.22, 0.9787, 0.7748, 0.6437],
        [2.379, 1.769, 1.356, 1.156, 0.9819],
        [3.458, 2.523, 1.983, 1.718, 1.558],
        [4.715, 3.428, 2.767, 2.406, 2.153],
        [7.121, 4.974, 4.007, 3.513, 3.213],
    ]
)
#: pJ per bit written, (capacity, port).
WRITE_PJ_PER_BIT = np.array(
    [
        [0.02892, nan, nan, nan, nan],
        [0.03942, 0.03058, nan, nan, nan],
        [0.06289, 0.04094, 0.03656, nan, nan],
        [0.103, 0.06288, 0.04684, 0.05021, nan],
        [0.1137, 0.1034, 0.06803, 0.06046, 0.07875],
        [0.1347, 0.1173, 0.1087, 0.08126, 0.08897],
        [0.1738, 0.2028, 0.1923, 0.122, 0.1096],
        [0.2632, 0.2297, 0.213, 0.2046, 0.1504],
        [0.3241, 0.2553, 0.254, 0.2397, 0.2325],
        [0.4669, 0.3851, 0.3455, 0.4041, 0.3964],
        [0.6772, 0.4795, 0.4285, 0.4023, 0.4604],
        [0.9332, 0.7074, 0.6111, 0.6365, 0.6307],
        [1.441, 1.088, 0.9299, 0.7261, 0.7594],
        [2.119, 1.509, 1.307, 1.272, 1.098],
        [3.104, 2.262, 1.934, 1.834, 1.674],
        [4.453, 3.166, 2.673, 2.521, 2.596],
        [6.431, 4.711, 3.912, 3.628, 3.446],
    ]
)
#: mm2, (capacity, port).
AREA_MM2 = np.array(
    [
        [0.001499, nan, nan, nan, nan],
        [0.002461, 0.003527, nan, nan, nan],
        [0.00442, 0.005171, 0.01065, nan, nan],
        [0.008824, 0.008567, 0.01409, 0.03212, nan],
        [0.01513, 0.01584, 0.02086, 0.03864, 0.1063],
        [0.03006, 0.03142, 0.03436, 0.05153, 0.1187],
        [0.05751, 0.05811, 0.06105, 0.07725, 0.1433],
        [0.1086, 0.1112, 0.1168, 0.1283, 0.1923],
        [0.2334, 0.2488, 0.2234, 0.2453, 0.2899],
        [0.4796, 0.4583, 0.5073, 0.4403, 0.4849],
        [1.025, 0.9613, 0.9271, 1.075, 0.9359],
        [1.819, 1.947, 1.921, 1.927, 2.353],
        [3.602, 3.851, 3.807, 4.13, 4.165],
        [7.024, 7.02, 7.651, 7.911, 8.824],
        [14.17, 13.9, 15.03, 15.32, 17.44],
        [27.8, 27.63, 27.74, 30.81, 32.14],
        [52.92, 54.88, 54.72, 59.84, 59.59],
    ]
)
#: W per bit with low-standby-power cells and low-operating-power periphery, 64-bit port; 16 KB, 256 KB and 2 MB.
LEAKAGE_CAPACITY_BITS = 8 * np.array([2.0**14, 2.0**18, 2.0**21])
LEAKAGE_W = np.array([0.611e-3, 3.756e-3, 25.12e-3])
#: The same with high-performance cells and periphery: 50 to 250 times as much.
LEAKAGE_HIGH_PERFORMANCE_W = np.array([27.89e-3, 385.5e-3, 3066e-3])
#: nm, and leakage, energy per bit read and area of a 1 MB memory (64-bit port, high-performance) relative to 45 nm.
NODES_NM = np.array([65.0, 45.0, 32.0, 22.0])
LEAKAGE_BY_NODE = np.array([1.120, 1.0, 0.589, 0.268])
READ_BY_NODE = np.array([1.840, 1.0, 0.533, 0.285])
AREA_BY_NODE = np.array([2.087, 1.0, 0.530, 0.250])
