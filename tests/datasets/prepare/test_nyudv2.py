"""The published file's lists, read back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rgbx.datasets import NYUDv2Lists, NYUDv2Mat
from rgbx.datasets.prepare import NYUDV2_DEPTH_SCALE, DepthEncoder, nyudv2_jobs, write_jobs


def test_lists_hold_the_published_frames(published_file, tmp_path):
    depth = DepthEncoder(NYUDV2_DEPTH_SCALE)
    write_jobs(tmp_path / "out", nyudv2_jobs(published_file.path, depth))
    assert depth.saturated == 0
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
    jobs = nyudv2_jobs(published_file.path, DepthEncoder(NYUDV2_DEPTH_SCALE))
    with pytest.raises(ValueError, match=r"depth of sample '000004' \(.*labeled\.mat\): contains NaN"):
        write_jobs(tmp_path / "out", jobs)
