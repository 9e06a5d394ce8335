"""Parts and figures of a declared folder."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from rgbx.datasets.own import declared_part, measure


@pytest.fixture
def folder(tmp_path):
    """Eight frames with depth, two of them of another size, declared with whatever splits are written."""
    random = np.random.default_rng(0)
    for index in range(8):
        size = (100, 150) if index < 6 else (97, 200)
        for name, array in (
            ("rgb", random.integers(0, 255, (*size, 3)).astype(np.uint8)),
            ("depth", random.integers(0, 3, size).astype(np.uint16) * 1000),
            ("label", random.integers(0, 2, size).astype(np.uint8)),
        ):
            (tmp_path / "all" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(f"{tmp_path}/all/{name}/{index}.png", array)

    def declare(splits):
        (tmp_path / "dataset.toml").write_text(
            '[classes]\nnames = ["a", "b"]\n[label]\nfolder = "all/label"\n'
            '[modalities.rgb]\nfolder = "all/rgb"\nunit = "rgb8"\n'
            '[modalities.depth]\nfolder = "all/depth"\nunit = "metre"\nscale = 1000\n'
            f"[splits]\n{splits}\n"
        )
        return tmp_path

    return declare


TRAIN = 'train = ["0", "1", "2", "3", "4", "5"]'


@pytest.mark.parametrize(
    ("splits", "stems"),
    [
        (TRAIN, {"train": "01245", "val": "3", "test": "3"}),
        (TRAIN + '\ntest = ["7"]', {"train": "01245", "val": "3", "test": "7"}),
        (TRAIN + '\nval = ["6"]', {"train": "012345", "val": "6", "test": "6"}),
        (TRAIN + '\nval = ["6"]\ntest = ["7"]', {"train": "012345", "val": "6", "test": "7"}),
    ],
)
def test_parts(folder, caplog, splits, stems):
    root = folder(splits)
    with caplog.at_level(logging.WARNING, logger="rgbx"):
        assert {part: "".join(declared_part(root, part).stems) for part in stems} == stems
    assert ("chose the checkpoint" in caplog.text) == ("test" not in splits)


def test_parts_that_there_are_not(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="--write-toml"):
        declared_part(tmp_path)
    with pytest.raises(ValueError, match="needs a split named train"):
        declared_part(folder('test = ["1"]'))
    with pytest.raises(ValueError, match="'dev'"):
        declared_part(tmp_path, "dev")


def test_statistics_are_those_of_the_measured_pixels(folder):
    dataset = declared_part(folder(TRAIN.replace("]", ', "6", "7"]')))
    measured = measure(dataset)
    depth = np.concatenate([dataset.read(i)["depth"].ravel() for i in range(len(dataset))]).astype(np.float64)
    assert list(measured.statistics) == ["depth"] and measured.frames == len(dataset)
    assert measured.statistics["depth"]["mean"] == [pytest.approx(depth[depth > 0].mean(), rel=1e-5)]
    assert measured.statistics["depth"]["std"] == [pytest.approx(depth[depth > 0].std(), rel=1e-5)]
    assert measured.crop == (96, 128)  # of 97 rows and 150 columns
    two = measure(dataset, 2)
    few = np.concatenate([dataset.read(i)["depth"].ravel() for i in (0, len(dataset) // 2)]).astype(np.float64)
    assert two.frames == 2 and two.statistics["depth"]["mean"] == [pytest.approx(few[few > 0].mean(), rel=1e-5)]


@pytest.mark.parametrize("unit", ["sensor", "relative"])
@pytest.mark.parametrize("name", ["depth", "thermal"])
def test_figures_count_what_was_measured(folder, unit, name):
    """Floats with NaN: masked in a sensor's map, 0 in depth."""
    root, random = folder(TRAIN), np.random.default_rng(1)
    text = (root / "dataset.toml").read_text()
    told = f'[modalities.{name}]\nfolder = "all/depth"\nsuffix = ".npy"\nunit = "{unit}"\nscale = 10\n'
    (root / "dataset.toml").write_text(text.partition("[modalities.depth]")[0] + told + f"[splits]\n{TRAIN}\n")
    known = []
    for stem in "012345":
        values = random.uniform(5, 9, (100, 150)).astype(np.float32)
        hole = random.random(values.shape) < 0.4
        np.save(root / f"all/depth/{stem}.npy", np.where(hole, np.float32(np.nan), values))
        known += [values[~hole].astype(np.float64) / 10] * (stem != "3")
    found = measure(declared_part(root)).statistics[name]
    assert found["mean"] == [pytest.approx(np.concatenate(known).mean(), rel=1e-4)]
    assert found["std"] == [pytest.approx(np.concatenate(known).std(), rel=1e-4)]


def test_a_map_of_one_value_has_no_statistics(folder):
    root = folder(TRAIN)
    for path in (root / "all/depth").iterdir():
        cv2.imwrite(str(path), np.full((100, 150), 2000, np.uint16))
    with pytest.raises(ValueError, match="depth has no two different values in 5 frames"):
        measure(declared_part(root))
