"""The published file's lists, read back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rgbx.datasets import NYUDv2Lists, NYUDv2Mat
from rgbx.datasets.prepare import nyudv2_preparation, write_preparation


def test_lists_hold_the_published_frames(published_file, tmp_path):
    assert write_preparation(tmp_path / "out", nyudv2_preparation(published_file.path))[:4] == (20, 0, 0, 0)
    for list_file, split in (("train.txt", "train"), ("val.txt", "test")):
        lists, mat = NYUDv2Lists(tmp_path / "out", list_file), NYUDv2Mat(published_file.path, split)
        assert len(lists) == len(mat) == 3
        for index, number in enumerate(published_file.numbers[split]):
            ours, theirs = lists[index], mat[index]
            assert ours["sample_id"] == theirs["sample_id"] == f"{number:06d}"
            np.testing.assert_array_equal(ours["rgb"], published_file.rgb[number - 1])
            np.testing.assert_array_equal(ours["label"], theirs["label"])
            assert np.abs(ours["depth"] - published_file.depth[number - 1]).max() <= 0.5 / 5000 + 1e-6
    assert (tmp_path / "out" / "train.txt").read_text().splitlines()[0] == (
        "rgb/000003.png\tmasks/000003.png\tdepth/000003.png"
    )
    assert Image.open(tmp_path / "out" / "depth" / "000001.png").mode == "I;16"


def test_damaged_depth_is_refused(published_file, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(published_file.path, "r+") as file:
        file["depths"][3, 0, 0] = np.nan
    preparation = nyudv2_preparation(published_file.path)
    with pytest.raises(ValueError, match=r"depth of sample '000004' \(.*labeled\.mat\): contains NaN"):
        write_preparation(tmp_path / "out", preparation)


def test_maps_of_other_sizes_are_refused(published_file, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(published_file.path, "r+") as file:
        labels = file["labels"][:, :-1]
        del file["labels"]
        file["labels"] = labels
    with pytest.raises(ValueError, match=r"label of sample '000003' \(.*labeled\.mat\): expected shape \(12, 16\)"):
        write_preparation(tmp_path / "out", nyudv2_preparation(published_file.path))
    assert not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.parametrize("name", ["nyu_depth_v2_labeled.mat", "classMapping40.mat", "splits.mat"])
def test_truncated_files_are_named(published_file, tmp_path, name):
    """Cut anywhere, but in what only fills up the last eight bytes."""
    path = published_file.path.with_name(name)
    whole = path.read_bytes()
    for size in (*range(0, len(whole) - 8, len(whole) // 12), 1, 127, 128, 130, len(whole) - 9):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=name) as caught:
            write_preparation(tmp_path / "out", nyudv2_preparation(published_file.path))
        assert str(path) in str(caught.value), size
    assert not list((tmp_path / "out").rglob("*.*"))
    path.write_bytes(whole)
    assert write_preparation(tmp_path / "out", nyudv2_preparation(published_file.path)).written == 20


def test_another_published_file_is_not_mixed(published_file, tmp_path):
    """The frames are the same; the classes are mapped otherwise, or the splits are others."""
    io = pytest.importorskip("scipy.io")
    write_preparation(tmp_path / "out", nyudv2_preparation(published_file.path))
    other, lists = tmp_path / "other.mat", tmp_path / "lists.mat"
    io.savemat(other, {"mapClass": published_file.map_class[None, ::-1]})
    with pytest.raises(FileExistsError, match=rf"rgb/000003\.png there is not what nyudv2 .*labeled\.mat, {other}\)"):
        write_preparation(tmp_path / "out", nyudv2_preparation(published_file.path, mapping=other))
    io.savemat(lists, {"trainNdxs": [[3], [4], [5]], "testNdxs": [[1], [2], [6]]})
    with pytest.raises(FileExistsError, match=rf"train\.txt there is not what nyudv2 .*\({lists}\)"):
        write_preparation(tmp_path / "out", nyudv2_preparation(published_file.path, splits=lists))
