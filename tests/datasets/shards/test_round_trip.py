"""What is packed comes back: files byte for byte, samples bit for bit, of every kind of dataset."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import tarfile

import cv2
import numpy as np
import pytest
import webdataset
from dataset_frames import colours, grey, save, write_deliver, write_fmb
from tiny import Halves

from rgbx.datasets import (
    DELIVER,
    FMB,
    CachedFrames,
    FolderDataset,
    MFNet,
    NYUDv2Mat,
    SequenceDataset,
    ShardedDataset,
    build_dataset,
    compute_class_weights,
    split_names,
)
from rgbx.datasets.clip import clips_of
from rgbx.datasets.fingerprint import dataset_fingerprint
from rgbx.datasets.prepare import write_shards
from rgbx.datasets.rooms import RoomRecording, Stream
from rgbx.datasets.shards import key_of, sample_id_of


def same(one, other):
    """Whether two samples are one, but for the files behind them."""
    assert one.keys() == other.keys()
    for name in one.keys() - {"paths"}:
        a, b = one[name], other[name]
        assert type(a) is type(b), name
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), name
        else:
            assert a == b, name


def members(root):
    """Every member of all shards by its name, as Python's tarfile reads them."""
    found = {}
    for path in sorted(root.rglob("*.tar")):
        with tarfile.open(path) as shard:
            found |= {item.name: shard.extractfile(item).read() for item in shard}
    return found


def test_files_come_back_byte_for_byte(folder, shards):
    """Of the archive with several arrays the one that is read is kept: its values to the bit."""
    found, dataset = members(shards), FolderDataset(folder)
    for frame in dataset.frames:
        for name, path in dataset.files_of(frame).items():
            if name != "radar":
                assert found.pop(f"{key_of(frame.sample_id)}.{name}{path.suffix}") == path.read_bytes()
    endings = {name.partition(".")[2] for name in found}
    assert endings == {"json", "radar.npy", "radar_valid.png"} and len(found) == len(endings) * len(dataset)


@pytest.mark.parametrize("modalities", [None, ("thermal", "rgb")])
def test_samples_come_back_bit_for_bit(folder, shards, modalities):
    files, packed = FolderDataset(folder, modalities=modalities), build_dataset(shards, modalities=modalities)
    assert isinstance(packed, ShardedDataset) and split_names(shards) == ("train",)
    assert "thermal_valid" in packed[0] and packed.metainfo == files.metainfo
    assert len(packed) == len(files)
    for index in range(len(files)):
        same(packed[index], files[index])
        assert packed.name_of(index) == files.name_of(index)
    ids = np.arange(4, dtype=np.uint8)[None]
    np.testing.assert_array_equal(packed.encode_label(ids), files.encode_label(ids))
    again = pickle.loads(pickle.dumps(packed))
    same(again[3], files[3])
    assert dataset_fingerprint(again) == dataset_fingerprint(build_dataset(shards, modalities=modalities))
    held = build_dataset(shards, modalities=modalities, holdout="only")
    same(held[0], FolderDataset(folder, modalities=modalities, holdout="only")[0])


def test_uncompressed_samples_come_back_bit_for_bit(folder, tmp_path):
    """Also of shards that are packed again; labels and what is no PNG are copied."""
    root = tmp_path / "folder"
    shutil.copytree(folder, root)
    (root / "dataset.toml").write_text((root / "dataset.toml").read_text().replace(".jpg", ".png"))
    for path in (root / "rgb").rglob("*.jpg"):
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)))
    files = FolderDataset(root)
    write_shards(tmp_path / "png", {"train": files}, root, shard_mb=0.04)
    for source in (files, build_dataset(tmp_path / "png")):
        out = tmp_path / type(source).__name__
        write_shards(out, {"train": source}, root, shard_mb=0.04, uncompressed=True)
        packed = build_dataset(out)
        for index in range(len(files)):
            same(packed[index], files[index])
        with tarfile.open(next((out / "train").glob("*.tar"))) as shard:
            endings = {item.name.partition(".")[2] for item in shard}
        assert {"rgb.bmp", "depth.pgm", "label.png", "thermal.npy"} <= endings and "rgb.png" not in endings


@pytest.mark.parametrize("uncompressed", [False, True])
def test_colours_become_jpegs_and_nothing_else_does(folder, tmp_path, uncompressed):
    """As OpenCV writes them; JPEGs that are there keep their bytes, and so does what is packed twice."""
    root = tmp_path / "folder"
    shutil.copytree(folder, root)
    (root / "dataset.toml").write_text((root / "dataset.toml").read_text().replace(".jpg", ".png"))
    for path in (root / "rgb").rglob("*.jpg"):
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)))
    files, options = FolderDataset(root), {"shard_mb": 0.04, "jpeg": 90, "uncompressed": uncompressed}
    write_shards(tmp_path / "png", {"train": files}, root, **options)
    packed = build_dataset(tmp_path / "png")
    for index in range(len(files)):
        found, expected = packed[index], files[index]
        encoded = cv2.imencode(".jpg", expected["rgb"][..., ::-1].copy(), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        np.testing.assert_array_equal(found["rgb"], cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
        same({**found, "rgb": None, "paths": None}, {**expected, "rgb": None, "paths": None})
    endings = {name.partition(".")[2] for name in members(tmp_path / "png")}
    assert {"rgb.jpg", "label.png", "depth.pgm" if uncompressed else "depth.png"} <= endings
    write_shards(tmp_path / "again", {"train": packed}, root, **{**options, "jpeg": 10})
    assert members(tmp_path / "again") == members(tmp_path / "png")


def test_jpeg_is_of_colours_alone(folder, tmp_path):
    thermal = FolderDataset(folder, modalities=("thermal",))
    with pytest.raises(
        ValueError, match=r"jpeg=90 is of colours of 8 bits \(rgb8\), .* its maps are thermal \(sensor\)"
    ):
        write_shards(tmp_path, {"train": thermal}, folder, jpeg=90)
    for quality in (0, 9.5, True):
        with pytest.raises(ValueError, match=f"jpeg is {quality}; expected a quality"):
            write_shards(tmp_path, {"train": FolderDataset(folder)}, folder, jpeg=quality)
    assert not any(tmp_path.iterdir())


def test_webdataset_reads_them(folder, shards):
    urls = [str(path) for path in sorted((shards / "train").glob("*.tar"))]
    found = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode())
    files = FolderDataset(folder)
    assert [sample_id_of(sample["__key__"]) for sample in found] == [frame.sample_id for frame in files.frames]
    np.testing.assert_array_equal(found[5]["thermal.npy"], np.load(files.frames[5].files["thermal"]))
    assert found[5]["json"]["sample_id"] == files.frames[5].sample_id


def test_equal_data_give_equal_bytes(folder, shards, tmp_path):
    """By several processes as by one, and `sha256sum` knows them."""
    write_shards(tmp_path, {"train": FolderDataset(folder)}, folder, shard_mb=0.04, workers=2)
    assert {p.name: p.read_bytes() for p in (tmp_path / "train").iterdir()} == {
        p.name: p.read_bytes() for p in (shards / "train").iterdir()
    }
    assert (tmp_path / "shards.json").read_bytes() == (shards / "shards.json").read_bytes()
    subprocess.run(["sha256sum", "--quiet", "-c", "checksums.sha256"], cwd=tmp_path, check=True)


def test_the_index_is_where_the_members_are(shards):
    """As a walk through the tar file finds them, in the format of DALI's wds2idx."""
    for path in (shards / "train").glob("*.tar"):
        with tarfile.open(path) as shard:
            walked = [(item.offset_data, item.size, item.name) for item in shard if item.isfile()]
        first, *lines = path.with_suffix(".idx").read_text().splitlines()
        words = [line.split(" ") for line in lines]
        told = [(int(w[i + 1]), int(w[i + 2]), w[i + 3]) for w in words for i in range(0, len(w), 4)]
        assert told == walked
        assert first == f"v1.2 {len(lines)}"
        assert all(w[i + 3].partition(".")[2] == w[i] for w in words for i in range(0, len(w), 4))


@pytest.mark.parametrize("name", ["a", "/a", "a//b/", "../x", "a b.c", "100%", "ü/~", "%2E", "x" * 150, "\udcff", "."])
def test_keys_can_be_turned_back(name):
    key = key_of(name)
    assert sample_id_of(key) == name
    assert key.isascii() and not set(" .~\n") & set(key) and "//" not in key and key.strip("/") == key


def deliver(tmp_path, published_file):
    return DELIVER(write_deliver(tmp_path / "in", np.random.default_rng(0)), modalities=("rgb", "depth", "event"))


def published(tmp_path, published_file):
    return NYUDv2Mat(published_file.path, "train")


def recording(tmp_path, published_file):
    streams = {"rgb": Stream(10.0), "depth": Stream(15.0, phase=0.3)}
    RoomRecording(0, 4, (16, 24), streams=streams).write(tmp_path / "in", 1.0)
    (tmp_path / "in" / "dataset.toml").write_text(
        '[modalities.rgb]\nfolder = "rgb"\nunit = "rgb8"\n\n[modalities.depth]\nfolder = "depth"\nunit = "metre"\n'
        "scale = 1000\n\n"
        '[splits]\ntrain = {rgb = "rgb.txt", depth = "depth.txt", max_gap = 0.08}\n'
    )
    return SequenceDataset(tmp_path / "in", frames={"rgb": 2, "depth": 3})


def rendered(tmp_path, published_file):
    return Halves(length=3)


MADE = {f.__name__: f for f in (deliver, published, recording, rendered)}


@pytest.mark.parametrize("kind", MADE)
def test_what_is_computed_comes_back(kind, tmp_path, published_file):
    dataset = MADE[kind](tmp_path, published_file)
    write_shards(tmp_path / "out", {"train": dataset}, tmp_path)
    packed = ShardedDataset(tmp_path / "out")
    assert len(packed) == len(dataset) > 0
    for index in range(len(dataset)):
        same(packed[index], dataset[index])
    assert packed.metainfo == dataset.metainfo
    assert (kind == "recording") == bool(clips_of(packed[0]))
    same(CachedFrames(packed).read(0), dataset.read(0))


def test_mirrored_frames_and_files_of_four_channels(tmp_path):
    """A mirrored frame is the files of another one, read in a way of its own: its arrays are kept, not those files."""
    rng = np.random.default_rng(0)
    save(tmp_path / "in" / "images" / "0.png", colours(rng, 4))
    save(tmp_path / "in" / "labels" / "0.png", grey(rng, 0, 9))
    (tmp_path / "in" / "train.txt").write_text("0\n0_flip\n")
    dataset = MFNet(tmp_path / "in")
    write_shards(tmp_path / "out", {"train": dataset}, tmp_path / "in")
    packed = ShardedDataset(tmp_path / "out")
    for index in range(2):
        same(packed[index], dataset[index])
    found = members(tmp_path / "out")
    assert found["0.label.png"] == (tmp_path / "in" / "labels" / "0.png").read_bytes() != found["0_flip.label.png"]


def test_labels_are_counted_and_written_as_before(tmp_path, published_file):
    files = FMB(write_fmb(tmp_path / "in", np.random.default_rng(0)))
    write_shards(tmp_path / "out", {"train": files}, tmp_path / "in")
    packed = ShardedDataset(tmp_path / "out")
    assert compute_class_weights(packed, "median_frequency") == compute_class_weights(files, "median_frequency")
    ids = np.arange(15, dtype=np.uint8)[None]
    np.testing.assert_array_equal(packed.encode_label(ids), files.encode_label(ids))


@pytest.mark.parametrize("kind", ["grey", "opaque", "transparent"])
def test_grey_and_opaque_images_become_jpegs_too(folder, tmp_path, kind):
    """Colours are read from them as they were; where a pixel is transparent, its image stays as it is."""
    root = tmp_path / "folder"
    shutil.copytree(folder, root)
    (root / "dataset.toml").write_text((root / "dataset.toml").read_text().replace(".jpg", ".png"))
    for path in (root / "rgb").rglob("*.jpg"):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if kind == "grey" else cv2.IMREAD_COLOR)
        if kind != "grey":
            image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
            image[0, 0, 3] = 255 if kind == "opaque" else 0
        cv2.imwrite(str(path.with_suffix(".png")), image)
    files = FolderDataset(root, modalities=("rgb",))
    write_shards(tmp_path / "out", {"train": files}, root, jpeg=90)
    endings = {name.partition(".")[2] for name in members(tmp_path / "out")}
    assert ("rgb.jpg" in endings, "rgb.png" in endings) == ((False, True) if kind == "transparent" else (True, False))
    packed = build_dataset(tmp_path / "out")
    difference = packed[0]["rgb"].astype(int) - files[0]["rgb"]
    assert packed[0]["rgb"].shape == files[0]["rgb"].shape and np.abs(difference).mean() < 20
    assert bool(difference.any()) == (kind != "transparent")
