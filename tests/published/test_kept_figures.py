"""Published figures that are kept on disk: the same as computed, and never those of a damaged file or of a user's own network."""

import json

import pytest

from dse.validation import table
from dse.validation.row import COLUMNS


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DSE_CACHE_DIR", str(tmp_path / "cache"))
    table._kept.cache_clear()
    yield tmp_path / "cache"
    table._kept.cache_clear()


def test_kept_rows_are_those_that_are_computed(cache):
    computed = table.published_rows()
    assert repr(computed) == repr([dict(zip(COLUMNS, row, strict=True)) for row in table.validation_table(chips=False).itertuples(index=False)])
    (path,) = cache.glob("published-*.json")
    whole = json.loads(path.read_text())
    changed = [[*row[:4], 2 * row[4], *row[5:]] for row in whole["rows"]]
    path.write_text(json.dumps({"rows": changed, "checksum": table._checksum(changed)}))
    table._kept.cache_clear()
    assert [row["ours"] for row in table.published_rows()] == [2 * row["ours"] for row in computed]  # It is read where it is whole ...
    for damaged in (json.dumps({"rows": changed, "checksum": whole["checksum"]}), json.dumps(whole)[:-9]):
        path.write_text(damaged)
        table._kept.cache_clear()
        assert repr(table.published_rows()) == repr(computed)  # ... and only there.
        assert json.loads(path.read_text()) == whole


def test_a_file_of_a_shipped_name_is_not_kept(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = (table.shipped_folder("workloads") / "cifar_resnet20.yaml").read_text()
    (tmp_path / "cifar_resnet20").write_text(network.replace("K: 16", "K: 8"))
    counted = {row["quantity"]: row["signed_error"] for row in table.published_rows()}
    assert abs(counted["cifar_resnet20: parameters"]) > 0.001
    assert not list(cache.glob("published-*"))


def test_another_numpy_may_give_other_figures(monkeypatch):
    before = table._digest()
    monkeypatch.setattr(table, "version", lambda name: "0")
    assert table._digest() != before
