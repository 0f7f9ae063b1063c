"""What the layer of a parameter is called, in a trace and where a module is trained in low precision."""

from __future__ import annotations

import re

#: Weights of a recurrent module, and what their layers are called: those of an imported one and of a workload file.
_STEPS = re.compile(r"(?:(?P<module>.+)\.)?weight_(?P<kind>ih|hh|hr)(?:_l(?P<number>[0-9]+))?(?P<back>_reverse)?")
_STEP_WORDS = {"ih": "input", "hh": "recurrent", "hr": "projection"}


def layer_of_parameter(key: str, recurrent: bool, stacked: bool) -> str:
    """The module of a parameter, as importing an ONNX file names it; "" for a weight of the model itself.

    Parameters
    ----------
    key
        Of the parameter, such as ``encoder.fc.weight``.
    recurrent, stacked
        Whether a recurrent module runs, and whether it has several layers.

    >>> layer_of_parameter("encoder.fc.weight", False, False), layer_of_parameter("rnn.weight_hh_l1_reverse", True, True)
    ('encoder.fc', 'rnn.1.recurrent_reverse')
    """
    steps = _STEPS.fullmatch(key)
    if steps is not None and recurrent:
        words = [
            steps["module"],
            steps["number"] if stacked else None,
            _STEP_WORDS[steps["kind"]] + (steps["back"] or ""),
        ]
        return ".".join(word for word in words if word)
    return key.partition(".parametrizations.")[0].removesuffix(".weight").removesuffix("_weight")
