"""Maps of several channels in a declared folder, from the files to a training step, a prediction and a program."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from small_models import small

from rgbx.cli.doctor_sheet import frame_panels
from rgbx.configure.dry_run import stems_of
from rgbx.datasets import FolderDataset, propose
from rgbx.datasets.fingerprint import dataset_fingerprint
from rgbx.datasets.own import measure
from rgbx.datasets.prepare import write_shards
from rgbx.datasets.shards import ShardedDataset
from rgbx.doctor import diagnose
from rgbx.export.program import Deployed, described, trace
from rgbx.models.checkpoint import dataset_in, to_plain
from rgbx.models.inputs import map_inputs
from rgbx.profile.measure import measure_complexity
from rgbx.transforms import HorizontalFlip, PackSample, RandomScaleCrop, collate

TOML = """
[classes]
names = ["a", "b", "c", "d", "e"]
[label]
folder = "label"
[modalities.rgb]
folder = "rgb"
unit = "rgb8"
[modalities.events]
folder = "events"
suffix = ".npy"
unit = "sensor"
channels = 5
layout = "CHW"
[modalities.bands]
folder = "bands"
suffix = ".tif"
unit = "sensor"
channels = 13
scale = 10000
missing = [0]
shown = [3, 2, 1]
[splits]
train = ["0", "1", "2", "3"]
"""
SIZE = (32, 48)


@pytest.fixture(scope="module")
def arrays():
    """By frame what was written: events [5, H, W], bands [H, W, 13] of 16 bits with some columns of 0."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(4):
        bands = rng.integers(1, 9000, (*SIZE, 13)).astype(np.uint16)
        bands[:, :k] = 0
        found.append((rng.normal(0, 2, (5, *SIZE)).astype(np.float32), bands))
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory, arrays):
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    for name in ("rgb", "label", "events", "bands"):
        (folder / name).mkdir()
    for k, (events, bands) in enumerate(arrays):
        cv2.imwrite(str(folder / f"rgb/{k}.png"), rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        cv2.imwrite(str(folder / f"label/{k}.png"), rng.integers(0, 5, SIZE, dtype=np.uint8))
        np.save(folder / f"events/{k}.npy", events)
        cv2.imwritemulti(str(folder / f"bands/{k}.tif"), list(bands.transpose(2, 0, 1)))
    (folder / "dataset.toml").write_text(TOML)
    return folder


def test_samples_and_statistics(root, arrays):
    dataset = FolderDataset(root)
    for sample, (events, bands) in zip(dataset, arrays, strict=True):
        np.testing.assert_array_equal(sample["events"], events.transpose(1, 2, 0))
        np.testing.assert_allclose(sample["bands"], bands / 10000, rtol=1e-6)
        np.testing.assert_array_equal(sample["bands_valid"], (bands > 0).all(axis=2))
    found = measure(dataset).statistics
    assert set(found) == {"events", "bands"}
    stacked = np.concatenate([bands.reshape(-1, 13)[bands.reshape(-1, 13)[:, 0] > 0] for _, bands in arrays]) / 10000
    np.testing.assert_allclose(found["bands"]["mean"], stacked.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found["bands"]["std"], stacked.std(axis=0), rtol=1e-4)
    assert dataset.maps["bands"].shown == (3, 2, 1)


def test_a_channel_of_one_value_has_no_statistics(root, tmp_path):
    (tmp_path / "bands").mkdir()
    pages = [
        np.full(SIZE, 7 if k == 4 else 1, np.uint16) + (k != 4) * np.arange(48, dtype=np.uint16) for k in range(13)
    ]
    cv2.imwritemulti(str(tmp_path / "bands/0.tif"), pages)
    bands = TOML[TOML.index("[modalities.bands]") : TOML.index("[splits]")]
    (tmp_path / "dataset.toml").write_text(f'{bands}[splits]\ntrain = ["0"]')
    with pytest.raises(ValueError, match="bands, channel 4 of 13 from 0, has no two different values in 1 frames"):
        measure(FolderDataset(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "channels = 5",
            "channels = 65",
            r"\[modalities.events\] channels: expected a whole number of 1 to 64, found 65",
        ),
        ("channels = 5", "channels = 4", r"events .*0\.npy: expected 4 channels, found 5 in an array \(5, 32, 48\)"),
        ('"CHW"', '"WHC"', r"layout: expected one of \['HWC', 'CHW'\]"),
        ('layout = "CHW"', "", r"0\.npy: expected 5 channels, found 48 .*layout = \"CHW\""),
        ("channels = 5\n", "", r"\[modalities.events\] layout is for maps of several channels; expected channels = "),
        ("[3, 2, 1]", "[3, 2]", r"shown: expected three numbers of channels, 0 to 12"),
        ("[3, 2, 1]", "[3, 2, 13]", r"shown: expected three numbers of channels, 0 to 12"),
        ('unit = "rgb8"', 'unit = "rgb8"\nchannels = 4', r"\[modalities.rgb\] channels: unit 'rgb8' has no channels"),
        ("channels = 13", "channels = 12", r"0\.tif: expected 12 channels, found a TIFF of 13 pages of 1 each"),
    ],
)
def test_declarations_that_are_wrong(root, tmp_path, old, new, message):
    for name in ("rgb", "label", "events", "bands"):
        (tmp_path / name).symlink_to(root / name)
    assert TOML.count(old) == 1
    (tmp_path / "dataset.toml").write_text(TOML.replace(old, new))
    with pytest.raises(ValueError, match=message):
        FolderDataset(tmp_path)[0]


def test_what_is_said_of_it_changes_no_digest(root):
    """Caches and results of before hold: fields that say nothing are in none."""
    dataset = FolderDataset(root, modalities=("rgb",))
    before = dataset_fingerprint(dataset)
    object.__setattr__(dataset.encodings["rgb"].spec, "shown", (2, 1, 0))
    assert dataset_fingerprint(dataset) != before
    object.__setattr__(dataset.encodings["rgb"].spec, "shown", ())
    assert dataset_fingerprint(dataset) == before


def test_the_doctor_reads_and_shows_it(root):
    diagnosis = diagnose({"train": lambda: FolderDataset(root)})
    assert not [finding for finding in diagnosis.findings if finding.severity != "info"]
    (split,) = diagnosis.splits
    frame = split.inspect(1)
    panels = frame_panels(split, frame, ["events", "bands"])
    assert frame.raw["bands"].shape == (*SIZE, 13) and panels["events"].shape == (*SIZE, 3)
    assert not panels["bands"][:, 0].any() and panels["bands"][:, 1:].any()
    red = frame.sample["bands"][..., 3][:, 1:]
    low, high = np.percentile(red, (2, 98))
    np.testing.assert_allclose(panels["bands"][:, 1:, 0], 255 * np.clip((red - low) / (high - low), 0, 1), atol=1)


def test_a_proposal_knows_it(root, tmp_path, arrays):
    for name in ("rgb", "label"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "voxels").mkdir()
    for k, (events, _) in enumerate(arrays):
        np.save(tmp_path / f"voxels/{k}.npy", events.transpose(1, 2, 0))
    text = propose(tmp_path).text
    assert 'unit = "sensor"' in text and "channels = 5" in text
    (tmp_path / "dataset.toml").write_text(text)
    np.testing.assert_array_equal(FolderDataset(tmp_path)[0]["voxels"], arrays[0][0].transpose(1, 2, 0))


def test_shards_lose_nothing(root, tmp_path):
    transforms = [dict(type=HorizontalFlip)]
    dataset = FolderDataset(root)
    write_shards(tmp_path / "shards", {"train": dataset}, root)
    shards = ShardedDataset(tmp_path / "shards", "train")
    assert shards.maps == dataset.maps
    for one, other in zip(shards, dataset, strict=True):
        for key in ("rgb", "events", "bands", "bands_valid", "label"):
            assert one[key].tobytes() == other[key].tobytes() and one[key].shape == other[key].shape
    assert len(ShardedDataset(tmp_path / "shards", "train", transforms=transforms)) == 4


@pytest.fixture(scope="module")
def trained(root):
    """A small model of all three maps after a step, and the dataset."""
    transforms = [
        dict(type=RandomScaleCrop, size=SIZE, scale=(0.8, 1.2)),
        dict(type=HorizontalFlip),
        dict(type=PackSample),
    ]
    dataset = FolderDataset(root, transforms=transforms)
    stems = dict.fromkeys(("events", "bands"), "copy")
    model = small("classes", modalities=("rgb", "events", "bands"), statistics=measure(dataset).statistics, stems=stems)
    assert stems_of(type("Data", (), {"modalities": dataset.modalities, "maps": dataset.maps})) == stems
    model.data_preprocessor.describe(dataset.maps)
    model.describe(dataset_in({"meta": {"dataset_meta": to_plain(dataset.metainfo)}}))
    batch = model.data_preprocessor(collate([dataset[k] for k in range(4)]), training=True)
    sum(loss for name, loss in model.train()(**batch, mode="loss").items() if "loss" in name).backward()
    lacking = [name for name, p in model.named_parameters() if p.grad is None]
    assert not lacking
    torch.optim.SGD(model.parameters(), 0.01).step()
    return model.eval(), dataset


def test_files_and_arrays_are_predicted_alike(trained, root, arrays):
    model, _ = trained
    files = {name: str(root / f"{name}/1.{end}") for name, end in (("rgb", "png"), ("events", "npy"), ("bands", "tif"))}
    result = model.predict(**files)
    image = cv2.imread(files["rgb"])[..., ::-1].copy()
    events, bands = arrays[1]
    again = model.predict(rgb=image, events=events.transpose(1, 2, 0), bands=bands)
    np.testing.assert_array_equal(result["labels"].ids, again["labels"].ids)
    np.testing.assert_array_equal(
        result["labels"].ids, model.predict(**{**files, "events": torch.from_numpy(events)})["labels"].ids
    )
    titles = {panel.title: panel.picture for panel in result.panels()}
    assert not titles["bands"][:, 0].any()
    alone = model.predict(bands=files["bands"])
    assert alone["labels"].ids.shape == SIZE and alone["labels"].background().shape == (*SIZE, 3)
    with pytest.raises(ValueError, match=r"events \(in memory\)|events .* array .*channels"):
        model.predict(events=events[:4].transpose(1, 2, 0))


def test_a_checkpoint_keeps_how_its_files_are_read(trained):
    model, dataset = trained
    read = map_inputs(["events", "bands"], {}, model.trained_on)
    assert read["events"].encoding == dataset.encodings["events"] and read["bands"].spec.shown == (3, 2, 1)
    assert read["bands"].encoding == dataset.encodings["bands"]


def test_costs_and_what_an_exported_file_says(trained):
    model, _ = trained
    cost = measure_complexity(model, (32, 48))
    assert cost.flops > measure_complexity(model, (32, 48), modalities=["rgb"]).flops > 0
    about = described(Deployed(model, ("rgb", "bands")), {"file": "a.pth", "sha256": "0"})
    assert about["inputs"]["bands"]["shape"][1] == 13 and about["inputs"]["bands"]["stored"]["missing"] == [0]


def test_a_program_of_bands_alone():
    """Without fusion, whose tracing takes longer than all else here."""
    statistics = {"bands": {"mean": [0.1] * 13, "std": [0.1] * 13}}
    model = small("classes", modalities=("bands",), statistics=statistics, stems={"bands": "copy"}, fusion=None).eval()
    deployed, given = Deployed(model, ("bands",)), (torch.rand(2, 13, 40, 56),)
    torch.testing.assert_close(trace(deployed).module()(given)[0], deployed(given)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"bands has 13 channels, by its statistics, .* stems={\"bands\": MODE}"),
        ({"weights": "separate"}, "bands has 13 channels, by its statistics; weights='separate' reads maps of 1 and 3"),
        ({"fusion": "early"}, "bands has 13 channels, by its statistics; fusion='early' reads maps of 1 and 3"),
    ],
)
def test_models_that_cannot_read_it(options, message):
    statistics = {"bands": {"mean": [0.1] * 13, "std": [0.1] * 13}}
    with pytest.raises(ValueError, match=message):
        small("classes", modalities=("rgb", "bands"), statistics=statistics, **options)
