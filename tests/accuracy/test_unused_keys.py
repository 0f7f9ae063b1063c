"""A key of a profile that means nothing without another one is an error with its line."""

import pytest

from dse.accuracy.profiles.loading import profile_from_document
from dse.errors import InputError
from dse.yaml_input import parse_yaml

PROFILE = """network: net
source: made up
method: made up
score: made up
prediction:
  quantity: top1
  baseline: 70.0
  baseline_name: FP32
  calibration: post-training
layers:
  a: {both: {4: 1.0, 8: 0.1}}
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("layer_spread: 1.5", "prediction.layer_spread (line 10): means nothing without a link"),
        ("noise_source: seeds", "prediction.noise_source (line 10): means nothing without noise"),
    ],
)
def test_keys_that_need_another_one(line, message):
    profile_from_document(parse_yaml(PROFILE, "p.yaml"))
    wrong = PROFILE.replace("post-training\n", f"post-training\n  {line}\n")
    with pytest.raises(InputError) as caught:
        profile_from_document(parse_yaml(wrong, "p.yaml"))
    assert message in str(caught.value)
