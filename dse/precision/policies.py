"""Published decision rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def loss_plateaus(
    losses: Sequence[float], threshold: float = 0.05, decay: float = 0.3, switches: int = 3, window: int = 5
) -> list[int]:
    """Epochs after which FracTrain raises the widths: the loss has settled.

    Theirs (NeurIPS 2020, Algorithm 1; code RICE-EIC/FracTrain, MIT): keep the last 5 epoch losses; when all of the
    first four differ from the last by at most ``threshold`` x scale, where scale is the mean loss of the first ten
    epochs (of those seen so far), switch, empty the window, and multiply the threshold by ``decay`` after the first and second
    switch.

    Parameters
    ----------
    losses
        Mean training loss per epoch.

    Returns
    -------
    list of int
        Number of epochs done at each switch, increasing, at most ``switches``.
    """
    found: list[int] = []
    kept: list[float] = []
    for epoch, loss in enumerate(losses, start=1):
        if len(found) == switches:
            break
        scale = float(np.mean(losses[: min(epoch, 10)]))
        kept = [*kept, float(loss)][-window:]
        if len(kept) == window and all(abs(before - kept[-1]) <= threshold * scale for before in kept[:-1]):
            found.append(epoch)
            kept = []
            threshold *= decay if len(found) <= 2 else 1.0
    return found
