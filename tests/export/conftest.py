import pytest

import dse


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A small run of the main job."""
    folder = tmp_path_factory.mktemp("export") / "run"
    dse.explore("imagenet_resnet", "flex_trainer", trials=4, seed=0, out=folder)
    return folder
