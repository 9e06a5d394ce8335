"""Files that do not belong together: frames made here, so that which file was moved is known."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from rgbx.datasets import NYUDv2Folders
from rgbx.datasets.sample import DenseDataset
from rgbx.doctor import diagnose, pairing
from rgbx.doctor.edges import SMALL, image_edges, map_edges, small_plane
from rgbx.doctor.inspection import Split
from rgbx.doctor.pairs import FITS, Pairs, common_shift, judge

COUNT = 40


def boxes(rng, height=90, width=120, count=14):
    """An image uint8 [H, W, 3], depth in metres [H, W] and labels [H, W] of boxes before a wall."""
    rgb, depth, label = (np.zeros((height, width, 3)), np.full((height, width), 9.0), np.zeros((height, width)))
    rgb += rng.integers(0, 256, 3)
    for near in range(count):
        y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
        part = slice(y, y + rng.integers(8, 40)), slice(x, x + rng.integers(8, 40))
        rgb[part], depth[part], label[part] = rng.integers(0, 256, 3), 8 - 0.5 * near, rng.integers(0, 5)
    rgb = np.clip(rgb + rng.normal(0, 4, rgb.shape), 0, 255)
    return {"rgb": rgb.astype(np.uint8), "depth": depth.astype(np.float32), "label": label.astype(np.uint8)}


class Made(DenseDataset):
    """Frames of arrays; `reads` counts how often each is read."""

    def __init__(self, frames, modalities=("rgb", "depth")):
        super().__init__(modalities=modalities, classes=list("abcde"), palette=[[i, i, i] for i in range(5)])
        self.frames, self.reads = frames, []

    def __len__(self):
        return len(self.frames)

    def read(self, index):
        self.reads.append(index)
        frame = self.frames[index]
        if frame is None:
            raise ValueError("cannot be read")
        return {"sample_id": f"f{index:03d}", "paths": {}, **frame}


def arranged(frames, name, order):
    """The frames with one map taken from others."""
    return [{**frame, name: frames[at][name]} for frame, at in zip(frames, order, strict=True)]


def turned(frames, name, which, axis):
    return [
        {**f, name: np.ascontiguousarray(np.flip(f[name], axis))} if i in which else f for i, f in enumerate(frames)
    ]


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return [boxes(rng) for _ in range(COUNT)]


def examine(frames, samples=0, **options):
    dataset = Made(frames, **options)
    found = diagnose({"train": lambda: dataset}, samples=samples).findings
    return [item for item in found if item.check == "pairing"], dataset


def warnings(frames, **options):
    return [item for item in examine(frames, **options)[0] if item.severity != "info"]


def pairs_of(finding):
    return {(int(own[1:]), int(partner[1:])) for own, partner in finding.evidence["pairs"]}


def orders():
    """Name -> where the depth of each frame is taken from."""
    rng, plain = np.random.default_rng(1), np.arange(COUNT)
    swapped, derangement, ranged, copied = (plain.copy() for _ in range(4))
    swapped[[3, 30, 11, 20]] = [30, 3, 20, 11]
    few = rng.choice(COUNT, 6, replace=False)
    derangement[few] = np.roll(few, 1)
    ranged[10:30] = np.roll(plain[10:30], 3)
    copied[25:33] = plain[5:13]
    return {
        "swapped": swapped,
        "deranged": derangement,
        "renamed range": ranged,
        "copied block": copied,
        "one behind": np.roll(plain, 1),
        "one ahead": np.roll(plain, -1),
        "from the middle on": np.where(plain >= 15, plain - 1, plain),
        "shuffled": rng.permutation(COUNT),
    }


@pytest.mark.parametrize("name", ["depth", "label"])
def test_clean_frames_are_a_fact(frames, name):
    found, _ = examine(frames)
    (fact,) = (item for item in found if item.message.startswith(name))
    assert fact.severity == "info" and fact.certainty == "likely" and fact.evidence["fitting"] == COUNT


@pytest.mark.parametrize("name", ["depth", "label"])
@pytest.mark.parametrize("what", orders())
def test_moved_files_are_named_with_their_partners(frames, what, name):
    order = orders()[what]
    found = warnings(arranged(frames, name, order))
    moved = {(at, int(order[at])) for at in range(COUNT) if order[at] != at}
    told = {pair for item in found for pair in pairs_of(item)}
    assert {at for at, _ in told} == {at for at, _ in moved}
    # where the image was found to fit, the partner is where its own map went
    back = {(int(order[at]), at) for at in range(COUNT)}
    assert told <= moved | back
    assert {item.evidence["maps"][0] for item in found} == {name} and all(item.certainty == "likely" for item in found)
    assert {sample_id for item in found for sample_id in item.frames} == {f"f{at:03d}" for at, _ in moved}


@pytest.mark.parametrize(
    "what, words, frames_of_run",
    [
        ("one behind", "one frame behind those of rgb from f001 on", 39),
        ("one ahead", "one frame ahead of those of rgb from f000 on", 39),
        ("from the middle on", "one frame behind those of rgb from f015 on", 25),
        ("copied block", "20 frames behind those of rgb from f025 to f032", 8),
        ("shuffled", "shuffled against those of rgb", None),
    ],
)
def test_folders_are_told_as_such(frames, what, words, frames_of_run):
    (found,) = warnings(arranged(frames, "depth", orders()[what]))
    assert f"the files of depth are {words}" in found.message
    assert frames_of_run is None or f"({frames_of_run} frames)" in found.message


def test_names_of_files(rooms, doctor):
    one, two = (rooms / f"train/depth/{name}.png" for name in ("002", "009"))
    contents = one.read_bytes(), two.read_bytes()
    two.write_bytes(contents[0])
    one.write_bytes(contents[1])
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["pairing warning"]
    found = doctor.find(diagnosis, "pairing", "warning")
    assert found.frames == {"train/002", "train/009"} and len(found.files) == 2
    for file, (at, partner) in zip(found.files, (("002", "009"), ("009", "002")), strict=True):
        by_map = f"{rooms / 'train/depth' / at}.png belongs to {rooms / 'train/rgb' / partner}.png"
        by_image = f"{rooms / 'train/rgb' / at}.png belongs to {rooms / 'train/depth' / partner}.png"
        assert file in (by_map, by_image)


@pytest.mark.parametrize(
    "axis, words", [(1, "mirrored"), (0, "upside down"), ((0, 1), "turned by 180 degrees")], ids=str
)
@pytest.mark.parametrize("which", [{4, 17}, set(range(COUNT))], ids=["two", "all"])
def test_turned_maps(frames, axis, words, which):
    (found,) = warnings(turned(frames, "depth", which, axis))
    assert f"{words} against rgb" in found.message and found.evidence["turn"] == words
    assert found.frames == {f"f{at:03d}" for at in which}


def test_maps_that_agree_point_at_the_images(frames):
    (found,) = warnings(arranged(frames, "rgb", orders()["swapped"]))
    assert found.evidence["maps"] == ["depth", "label"] and "images seem to be what is misplaced" in found.fix
    assert {at for at, _ in pairs_of(found)} == {3, 11, 20, 30}


def test_a_shift_of_all_maps_is_no_fault(frames):
    moved = [{**frame, "depth": np.roll(frame["depth"], 6, axis=1)} for frame in frames]
    found = warnings(arranged(moved, "depth", orders()["swapped"]))
    assert {at for item in found for at, _ in pairs_of(item)} == {3, 11, 20, 30}
    assert warnings(moved) == []


def unrelated(frames):
    rng = np.random.default_rng(5)
    return [{**frame, "depth": boxes(rng)["depth"]} for frame in frames]


def still(frames):
    rng = np.random.default_rng(5)
    noisy = [np.clip(frames[0]["rgb"] + rng.normal(0, 3, frames[0]["rgb"].shape), 0, 255) for _ in frames]
    return [{**frames[0], "rgb": rgb.astype(np.uint8)} for rgb in noisy]


SETS = {
    "few": lambda frames: arranged(frames, "depth", np.roll(np.arange(COUNT), 1))[:7],
    "unrelated": unrelated,
    "still video": still,
}


@pytest.mark.parametrize("what", SETS)
def test_what_cannot_be_told_is_undecided(frames, what):
    found, _ = examine(SETS[what](frames))
    (depth,) = (item for item in found if item.message.startswith("depth"))
    assert depth.severity == "info" and depth.certainty == "undecided"


def test_duplicates_and_frames_without_edges_are_no_fault(frames):
    flat = {**frames[5], "depth": np.full_like(frames[5]["depth"], 2.0)}
    dark = {**frames[6], "rgb": np.zeros_like(frames[6]["rgb"])}
    assert warnings([*frames[:5], flat, dark, *frames[7:], frames[0], frames[12]]) == []


def test_maps_of_another_size_are_left_out(frames):
    """As the check of registration does, since files of two sizes need not show the same part."""
    small = [{**frame, "label": frame["label"][::2, ::2]} for frame in arranged(frames, "label", orders()["shuffled"])]
    planes = pairing.Pairing(Split("train", Made(frames)))
    for at, frame in enumerate(small):
        planes._keep(at, frame)
    assert set(planes.planes) == {"rgb", "depth"}


def video(count, lag, scenes=6, seed=3):
    """A camera that moves over scenes much larger than its view; the depth of `lag` frames later (or earlier)."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(scenes):
        scene = boxes(rng, 150, 260, 60)
        x, y = 60 + np.cumsum(rng.integers(-8, 9, count)), 30 + np.cumsum(rng.integers(-4, 5, count))
        corners = list(zip(x.clip(0, 140).tolist(), y.clip(0, 60).tolist(), strict=True))
        views = [{name: array[b : b + 90, a : a + 120] for name, array in scene.items()} for a, b in corners]
        made += [{**view, "depth": views[min(max(at + lag, 0), count - 1)]["depth"]} for at, view in enumerate(views)]
    return [{name: np.ascontiguousarray(array) for name, array in frame.items()} for frame in made]


@pytest.mark.parametrize("samples", [0, 24])
@pytest.mark.parametrize("lag", [-1, 0, 1])
def test_videos(lag, samples):
    """Neighbours fit nearly as well as the own image; that all are one frame off is seen in the sum."""
    found = warnings(video(20, lag), samples=samples)
    if not lag:
        assert found == []
        return
    assert len(found) == 1 and found[0].evidence["offset"] == lag and len(found[0].frames) > 100


def test_partners_outside_the_sample_are_read(frames):
    order = orders()["swapped"]
    found, dataset = examine(frames, samples=10)
    assert len(set(dataset.reads)) < COUNT and all(item.severity == "info" for item in found)
    seen = set(dataset.reads[:10])
    assert seen & {3, 11, 20, 30} and not {3, 11, 20, 30} <= seen  # a swapped frame is in it, and not all are
    (found,), dataset = examine(arranged(frames, "depth", order), samples=10)[0][:1], None
    assert {at for at, _ in pairs_of(found)} == {3, 11, 20, 30}


def test_what_is_read_beside_the_sample_is_bounded(frames, monkeypatch):
    monkeypatch.setattr(pairing, "READ_PIXELS", 8 * 90 * 120)
    shifted = arranged(frames, "depth", orders()["one behind"])
    found, dataset = examine(shifted, samples=10)
    known = set(dataset.reads)
    assert len(known) <= 10 + 2 * 12 + 8
    text = " ".join(f"{item.message} {item.fix}" for item in found if item.severity != "info")
    assert f"compared: {len(known)} of 40 frames" in text and "`--samples 0` compares all" in text
    monkeypatch.setattr(pairing, "MOST_FRAMES", 12)
    assert all("12" in item.message for item in examine(frames)[0])


def test_frames_that_cannot_be_read_are_left_out(frames):
    broken = arranged(frames, "depth", orders()["swapped"])
    broken[7] = broken[8] = None
    assert {at for item in warnings(broken, samples=10) for at, _ in pairs_of(item)} == {3, 11, 20, 30}


def test_registration_is_told_beside_swapped_files(frames):
    dataset = Made(arranged(frames, "depth", orders()["swapped"]))
    found = [item for item in diagnose({"train": lambda: dataset}).findings if item.check == "registration"]
    assert all(item.severity == "info" and item.certainty == "likely" for item in found) and len(found) == 2


def test_planes():
    rng = np.random.default_rng(0)
    frame = boxes(rng, 200, 300)
    plane = small_plane(map_edges(frame["label"], None))
    assert plane.shape == SMALL and plane.dtype == np.int8 and plane.nbytes == 8268
    assert abs(float(plane.mean())) < 3
    assert small_plane(np.zeros((50, 60), np.float32)) is None
    assert small_plane(np.full((50, 60), 3, np.float32)) is None


def test_fits_against_their_definition(frames):
    """Correlation of centred planes, and its distance from the foreign pairs', by loops over pairs."""
    images = np.stack([small_plane(image_edges(frame["rgb"])) for frame in frames[:12]])
    others = np.stack([small_plane(map_edges(frame["label"], None)) for frame in frames[:12]])
    assert common_shift(images, others) == (0, 0)
    pairs = Pairs(images, others, np.arange(12))
    correlation = np.zeros((12, 12))
    for i in range(12):
        for j in range(12):
            a, b = images[i] - images.mean(axis=0), others[j] - others.mean(axis=0)
            correlation[i, j] = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())

    def spread(values):
        return (np.percentile(values, 80) - np.percentile(values, 20)) / 1.6832

    fit = np.zeros((12, 12))
    for i in range(12):
        for j in range(12):
            middle = np.median(correlation[i]) + np.median(correlation[:, j]) - np.median(correlation)
            rows, columns, both = spread(correlation[i]), spread(correlation[:, j]), spread(correlation)
            scale = (12 * rows + 16 * both) / 28 * (12 * columns + 16 * both) / 28 / both
            fit[i, j] = (correlation[i, j] - middle) / scale
    i, j = (index.ravel() for index in np.indices((12, 12)))
    found = pairs.paired(i, j)
    np.testing.assert_allclose(found[0], correlation.ravel(), atol=1e-5)
    np.testing.assert_allclose(found[1], fit.ravel(), atol=1e-2)
    row, column = pairs.best(np.array([1, 4]))
    np.fill_diagonal(fit, -np.inf)
    fit[correlation < 0.08] = -np.inf
    for at in (1, 4):
        assert row.fit[at] == pytest.approx(fit[at].max(), abs=1e-2) or np.isinf(fit[at].max())
        assert column.fit[at] == pytest.approx(fit[:, at].max(), abs=1e-2) or np.isinf(fit[:, at].max())


@pytest.fixture(scope="module")
def real_planes(nyuv2_320x240):
    """Planes of 200 real frames."""
    dataset = NYUDv2Folders(nyuv2_320x240, "test")
    samples = [dataset.read(at) for at in range(0, 600, 3)]
    images = np.stack([small_plane(image_edges(sample["rgb"])) for sample in samples])
    return images, np.stack([small_plane(map_edges(sample["depth"], dataset.maps["depth"])) for sample in samples])


def test_real_pairs_are_told_from_foreign_ones(real_planes):
    pairs = Pairs(*real_planes, np.arange(200))
    i, j = (index.ravel() for index in np.indices((200, 200)))
    fit = pairs.paired(i, j)[1].reshape(200, 200)
    own, foreign = np.diag(fit), np.sort(fit[~np.eye(200, dtype=bool)])
    assert np.searchsorted(foreign, own).mean() / len(foreign) >= 0.99
    assert (own >= FITS).mean() > 0.95 and not judge(pairs).misplaced


@pytest.mark.parametrize("seed", range(3))
def test_real_swapped_files(real_planes, seed):
    images, others = real_planes
    swapped = np.random.default_rng(seed).choice(200, 10, replace=False)
    order = np.arange(200)
    order[swapped] = swapped.reshape(-1, 2)[:, ::-1].ravel()
    found = judge(Pairs(images, others[order], np.arange(200)))
    right = found.misplaced & set(swapped.tolist())
    assert len(right) >= 0.95 * 10 and len(right) >= 0.95 * len(found.misplaced)


def test_the_sample_of_real_frames_is_clean(nyuv2_320x240):
    diagnosis = diagnose({"test": partial(NYUDv2Folders, nyuv2_320x240, "test")}, samples=32)
    found = [item for item in diagnosis.findings if item.check == "pairing"]
    assert len(found) == 2 and all(item.certainty == "likely" and item.severity == "info" for item in found)
