"""examples/sensors: what the scripts write, against loops written here, and that it trains."""

from __future__ import annotations

import runpy
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_models import small

from rgbx.cli.arguments import build_parser
from rgbx.configure.dry_run import STEM
from rgbx.datasets import FolderDataset
from rgbx.datasets.own import measure
from rgbx.transforms import HorizontalFlip, PackSample, RandomScaleCrop, collate

FOLDER = Path(__file__).parents[2] / "examples/sensors"
EXAMPLES = {"event_camera": ("events", 5), "polarisation": ("polarisation", 2), "sentinel2": ("bands", 13)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_writes_a_dataset_that_trains(name, tmp_path, capsys):
    runpy.run_path(str(FOLDER / f"{name}.py"))["main"](tmp_path, frames=2, size=(48, 64))
    for line in capsys.readouterr().out.splitlines():
        command, *words = shlex.split(line)[1:]
        build_parser(command).parse_args(words)
    modality, channels = EXAMPLES[name]
    transforms = [dict(type=RandomScaleCrop, size=32), dict(type=HorizontalFlip), dict(type=PackSample)]
    dataset = FolderDataset(tmp_path, "train", transforms=transforms)
    assert (len(dataset), len(FolderDataset(tmp_path, "val"))) == (2, 1)
    assert dataset.maps[modality].channels == channels
    head = dict(task="classes", num_classes=dataset.num_classes, decoder={"name": "light", "width": 16})
    stems = {modality: STEM}
    model = small(
        heads={"labels": head}, modalities=dataset.modalities, statistics=measure(dataset).statistics, stems=stems
    )
    model.data_preprocessor.describe(dataset.maps)
    batch = model.data_preprocessor(collate([dataset[0], dataset[1]]), training=True)
    losses = model.train()(**batch, mode="loss")
    sum(loss for key, loss in losses.items() if "loss" in key).backward()
    assert not [key for key, parameter in model.named_parameters() if parameter.grad is None]


def test_events_are_counted_one_by_one():
    made = runpy.run_path(str(FOLDER / "event_camera.py"))
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    after[0] = before[0]
    found = made["voxels"](before, after)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    for row in range(5):
        for column in range(6):
            first, last = (np.log(frame[row, column] / 255 + 0.05) for frame in grey)
            expected, crossed = np.zeros(5), made["STEP"]
            while crossed <= abs(last - first):
                time = crossed / abs(last - first)
                for k in range(5):
                    expected[k] += np.sign(last - first) * max(0, 1 - abs(k - 4 * time))
                crossed += made["STEP"]
            np.testing.assert_allclose(found[:, row, column], expected, atol=1e-5)
    assert not found[:, 0].any() and np.abs(found).max() > 1


def test_polarisation_of_known_light():
    made = runpy.run_path(str(FOLDER / "polarisation.py"))
    for degree, angle in ((0.0, 0.3), (0.4, 0.3), (1.0, -1.2)):
        behind = [0.5 * (1 + degree * np.cos(2 * (np.radians(a) - angle))) for a in (0, 45, 90, 135)]
        found = made["polarisation"](np.array(behind).reshape(4, 1, 1))
        np.testing.assert_allclose(found[0, 0], [degree, degree * np.cos(2 * angle)], atol=1e-6)
        mirrored = made["polarisation"](np.array([behind[0], behind[3], behind[2], behind[1]]).reshape(4, 1, 1))
        np.testing.assert_allclose(mirrored, found, atol=1e-6)  # so that a flip of the map is right
    straight = np.zeros((1, 1, 3))
    straight[..., 2] = -1
    slanted = np.array([[[0.8, 0.0, -0.6]]])
    for normals, low, high in ((straight, 0.0, 0.02), (slanted, 0.05, 0.3)):
        seen = made["intensities"](np.ones((1, 1)), normals, np.random.default_rng(0))
        assert low <= made["polarisation"](seen)[0, 0, 0] <= high


def test_the_page_tells_the_files_that_there_are():
    page = (FOLDER.parents[1] / "docs/sensors.md").read_text()
    assert all(f"python examples/sensors/{name}.py data/" in page for name in EXAMPLES)
    assert sorted(EXAMPLES) == sorted(path.stem for path in FOLDER.glob("*.py"))
