"""`rgbx predict` on files, folders, lists, videos and datasets, against the predictor on arrays that OpenCV reads."""

import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from processes import FORKS
from small_models import LABELS, diverse, small

from rgbx._types import InputWarning
from rgbx.cli.arguments import ConfigError, build_parser, parse
from rgbx.cli.outputs import Outputs, Progress, write_video
from rgbx.cli.predict import main, parse_map, parse_maps
from rgbx.datasets.layouts import build_dataset
from rgbx.datasets.prepare.shards import write_shards
from rgbx.datasets.shards import ShardedDataset, read_manifest
from rgbx.maps import Encoding, MapSpec
from rgbx.models import MultimodalModel, Predictor, multimodal_segmentor
from rgbx.models.checkpoint import to_plain
from rgbx.models.inputs import OPTIONS

SIZE, STEMS = (34, 50), ("a", "b", "c", "d")
CLASSES = ["wall", "floor", "chair", "lamp", "box"]
PALETTE = [[200, 0, 0], [0, 200, 0], [0, 0, 200], [90, 90, 0], [0, 90, 90]]
META = {
    "maps": {name: vars(MapSpec.of_unit(name, unit)) for name, unit in (("rgb", "rgb8"), ("depth", "metre"))},
    "stored": {"depth": {"scale": 5000.0}},
    "classes": CLASSES,
    "palette": PALETTE,
}


@pytest.fixture(scope="module")
def network():
    """A model of rgb and depth that predicts classes and normals."""
    return diverse(small("both")).eval()


@pytest.fixture(scope="module")
def root(network, tmp_path_factory):
    """A folder with the model's checkpoint, and four frames as files."""
    folder, rng = tmp_path_factory.mktemp("predict"), np.random.default_rng(0)
    state = {"state_dict": network.state_dict(), "model": to_plain(network.recipe), "meta": {"dataset_meta": META}}
    torch.save(state, folder / "model.pth")
    for name, high, dtype in (("rgb", 256, np.uint8), ("depth", 30000, np.uint16)):
        (folder / name).mkdir()
        for stem in STEMS:
            shape = (*SIZE, 3) if name == "rgb" else SIZE
            cv2.imwrite(str(folder / name / f"{stem}.png"), rng.integers(0, high, shape).astype(dtype))
    return folder


@pytest.fixture
def run(root, tmp_path, monkeypatch):
    """Runs the command in the folder, with a folder of its own to write; gives the exit code."""
    monkeypatch.chdir(root)

    def predict(*words, out="out"):
        return main(["model.pth", *words, "--out", str(tmp_path / out), "--device", "cpu"])

    return predict


BOTH = ("rgb=rgb", "depth=depth")


def arrays(stem, scale=5000):
    """RGB uint8 [1, 3, H, W] and depth float32 [1, 1, H, W] in metres, read from the current folder."""
    colours = cv2.imread(f"rgb/{stem}.png")[..., ::-1].transpose(2, 0, 1).copy()
    depth = cv2.imread(f"depth/{stem}.png", cv2.IMREAD_UNCHANGED).astype(np.float32) / np.float32(scale)
    return {"rgb": torch.from_numpy(colours)[None], "depth": torch.from_numpy(depth)[None, None]}


def expected(network, batch):
    """What the predictor says of each head, for a batch of one frame."""
    return Predictor(network)(batch, keep_probability=True)[0]["heads"]


def picture(path):
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return found[..., ::-1] if found.ndim == 3 else found


def test_folders_and_every_kind_of_file(run, network, tmp_path, capsys):
    saved = ("--save", "ids", "colours", "overlay", "confidence", "strip", "areas")
    assert run(*BOTH, *saved, "--gallery", "--batch-size", "3") == 0
    said, out = capsys.readouterr().out, tmp_path / "out"
    assert re.search(r"^4 frames, [\d.e+]+ frames/s: ", said, re.MULTILINE)
    areas = json.loads((out / "areas.json").read_text())
    assert list(areas["frames"]) == list(STEMS) and areas["classes"] == {"labels": CLASSES}
    for stem in STEMS:
        heads = expected(network, arrays(stem))
        ids = heads["labels"].prediction["ensemble"].numpy()
        assert np.array_equal(picture(out / f"labels/{stem}.png"), ids)
        colours = np.array(PALETTE, np.uint8)[ids]
        assert np.array_equal(picture(out / f"labels_colours/{stem}.png"), colours)
        mixed = (picture(f"rgb/{stem}.png").astype(float) + colours) / 2
        assert np.abs(picture(out / f"labels_overlay/{stem}.png") - mixed).max() <= 0.5
        sure = heads["labels"].probability["ensemble"].numpy().max(axis=0)
        assert np.abs(picture(out / f"labels_confidence/{stem}.png") / 65535 - sure).max() < 1e-4
        for k, name in enumerate(CLASSES):
            assert areas["frames"][stem]["labels"][name] == pytest.approx((ids == k).mean(), abs=1e-6)
        normals = heads["normal"].prediction["ensemble"].numpy().transpose(1, 2, 0)
        stored = picture(out / f"normal/{stem}.png") / 32767.5 - 1
        assert np.abs(np.cross(stored, normals)).max() < 1e-3
        assert picture(out / f"strip/{stem}.png").shape[1] > 5 * SIZE[1]
    with Image.open(out / "labels_confidence/a.png") as image:
        assert image.text["Description"] == "confidence of labels: probability = value / 65535"
    with Image.open(out / "normal/a.png") as image:
        assert image.text["Description"].startswith("normal: unit_vector = value / 32767.5 - 1")
    assert not (out / "normal_overlay").exists() and not (out / "normal_confidence").exists()
    page = (out / "index.html").read_text()
    assert [page.index(f'of {stem}"') for stem in STEMS] == sorted(page.index(f'of {stem}"') for stem in STEMS)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("--save", "ids", "overlay", "colours", "areas"), False),
        (("--save", "confidence"), True),
        (("--save", "strip"), True),
        (("--save", "ids", "--gallery"), True),
    ],
)
def test_confidence_is_found_where_it_is_shown_and_by_one_pass(run, monkeypatch, words, shown):
    passes, asked = [], []
    once, call = MultimodalModel.run, Predictor.__call__
    monkeypatch.setattr(MultimodalModel, "run", lambda *a, **k: passes.append(1) or once(*a, **k))
    monkeypatch.setattr(Predictor, "__call__", lambda *a, **k: asked.append(k["keep_confidence"]) or call(*a, **k))
    assert run(*BOTH, "--heads", "labels", *words) == 0
    assert len(passes) == len(STEMS) and asked == [shown] * len(STEMS)


def test_a_model_of_clips_says_that_it_is_given_stills(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    torch.manual_seed(0)
    network = multimodal_segmentor(backbone="test_resnet", modalities=("rgb", "depth"), num_classes=5, fusion="mea")
    meta = {"dataset_meta": {**META, "clips": {"rgb": 1, "depth": 5}}}
    state = {"state_dict": network.state_dict(), "model": to_plain(network.recipe), "meta": meta}
    torch.save(state, tmp_path / "mea.pth")
    words = ["rgb=rgb/a.png", "depth=depth/a.png", "--out", str(tmp_path / "a.png"), "--device", "cpu"]
    with pytest.warns(InputWarning, match=r"depth \(depth/a\.png\): one frame, .* trained on clips of 5") as told:
        assert main([str(tmp_path / "mea.pth"), *words]) == 0
    assert len([warning for warning in told if issubclass(warning.category, InputWarning)]) == 1


@pytest.mark.parametrize(
    ("words", "kind"), [((), "overlay"), (("--save", "ids"), "ids"), (("--save", "confidence"), "confidence")]
)
def test_one_frame_to_one_file(run, network, tmp_path, capsys, words, kind):
    frame = ("rgb=rgb/a.png", "depth=depth/a.png")
    assert run(*frame, *words, "--heads", "labels", out="a.png") == 0
    said = capsys.readouterr().out
    assert f"{kind} of labels written: " in said and ("--save ids writes the class ids" in said) == (not words)
    found = expected(network, arrays("a"))["labels"]
    ids, sure = found.prediction["ensemble"].numpy(), found.probability["ensemble"].numpy().max(0).astype(float)
    mixed = (picture("rgb/a.png").astype(float) + np.array(PALETTE)[ids]) / 2
    truth = {"ids": ids, "confidence": np.rint(sure * 65535), "overlay": mixed}[kind]
    assert np.abs(picture(tmp_path / "a.png").astype(int) - truth).max() <= (kind != "ids")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]
    assert run(*frame, *words, out="a.png") == 2
    assert "is there already" in capsys.readouterr().err


def test_a_subset_a_branch_and_a_scale(run, network, tmp_path, capsys):
    assert run(*BOTH, "--modalities", "rgb", "--heads", "labels", "--save", "ids", out="one") == 0
    assert "The model also takes depth, not given here" in capsys.readouterr().out
    assert run(*BOTH, "--branch", "depth", "--map", "depth", "scale=1000", "--save", "ids", out="two") == 0
    for stem in STEMS:
        alone = expected(network, {"rgb": arrays(stem)["rgb"]})["labels"].prediction["ensemble"]
        assert np.array_equal(picture(tmp_path / f"one/labels/{stem}.png"), alone)
        branch = expected(network, arrays(stem, 1000))["labels"].prediction["depth"]
        assert np.array_equal(picture(tmp_path / f"two/labels/{stem}.png"), branch)
    assert not (tmp_path / "one/normal").exists()


def test_lists_with_and_without_timestamps(run, network, root, tmp_path, capsys):
    for name in ("rgb", "depth"):
        Path(f"{name}.txt").write_text("".join(f"{name}/{stem}.png\n" for stem in "ca"))
    assert run("rgb=rgb.txt", "depth=depth.txt", "--save", "ids", out="plain") == 0
    assert sorted(path.name for path in (tmp_path / "plain/labels").iterdir()) == ["a.png", "c.png"]
    Path("t_rgb.txt").write_text("# time file\n" + "".join(f"{10 + i:.3f} rgb/{s}.png\n" for i, s in enumerate(STEMS)))
    Path("t_depth.txt").write_text("10.015 depth/b.png\n11.5 depth/a.png\n12.019 depth/d.png\n13.1 depth/c.png\n")
    assert run("rgb=t_rgb.txt", "depth=t_depth.txt", "--save", "ids", out="near") == 0
    assert "within 0.02 s, 2 rgb frames have no depth, 2 depth frames have no rgb" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "near/labels").iterdir()) == ["a.png", "c.png"]
    mixed = {"rgb": arrays("a")["rgb"], "depth": arrays("b")["depth"]}
    ids = expected(network, mixed)["labels"].prediction["ensemble"]
    assert np.array_equal(picture(tmp_path / "near/labels/a.png"), ids)
    assert run("rgb=t_rgb.txt", "depth=t_depth.txt", "--save", "ids", "--max-gap", "0.2", out="wide") == 0
    assert len(list((tmp_path / "wide/labels").iterdir())) == 3
    Path("short.txt").write_text("depth/a.png\n")
    Path("absent.txt").write_text("depth/a.png\ndepth/nowhere.png\n")
    for depth, message in (
        ("short.txt", "lists of different lengths: rgb.txt has 2, short.txt has 1"),
        ("absent.txt", "absent.txt:2: depth depth/nowhere.png: no such file"),
        ("t_depth.txt", "rgb.txt holds paths, t_depth.txt holds timestamps and paths"),
    ):
        assert run("rgb=rgb.txt", f"depth={depth}", out="none") == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_delays_of_the_training_are_taken_off_timestamps(run, root, tmp_path, capsys):
    """Depth lags by 0.15 s: the frame with the stamp 10.15 is that of 10.0; by the stamps alone it would be 10.2's."""
    state = torch.load(root / "model.pth", weights_only=True)
    state["meta"]["dataset_meta"]["times"] = {"max_gap": 0.06, "delays": {"depth": 0.15, "lidar": "late"}}
    torch.save(state, root / "late.pth")
    Path("l_rgb.txt").write_text("10.00 rgb/a.png\n10.20 rgb/b.png\n10.40 rgb/c.png\n")
    Path("l_depth.txt").write_text("10.15 depth/a.png\n10.40 depth/b.png\n10.60 depth/c.png\n")
    lists = ("rgb=l_rgb.txt", "depth=l_depth.txt", "--save", "ids")

    def done(*words, out):
        assert main(parse("predict", [str(root / "late.pth"), *lists, *words, "--out", str(tmp_path / out)])) == 0
        return sorted(path.stem for path in (tmp_path / out / "labels").iterdir()), capsys.readouterr().out

    names, said = done(out="taught")
    assert names == ["a", "b", "c"]  # 0, 0.05 and 0.05 s apart
    assert "Taken off the timestamps, as maps lag: depth by 0.15 s (--map depth delay=SECONDS says another)." in said
    names, said = done("--map", "depth", "delay=0", out="none")
    assert names == ["b", "c"] and "lag" not in said
    names, said = done("--map", "depth", "delay=0.2", "scale=5000", "--max-gap", "0.01", out="more")
    assert names == ["b", "c"] and "depth by 0.2 s" in said
    Path("pairs.txt").write_text("rgb/a.png\n")
    Path("depths.txt").write_text("depth/a.png\n")
    for depth, rgb, message in (
        ("depth", "rgb", "--map depth delay= is of lists with timestamps, found depth"),
        ("depths.txt", "pairs.txt", "--map depth delay= is of lists with timestamps, found depths.txt"),
    ):
        assert run(f"rgb={rgb}", f"depth={depth}", "--map", "depth", "delay=0.1") == 2
        assert message in capsys.readouterr().err


def film(path, frames, rate, code="FFV1"):
    """Writes a video: grey of 16 bits, or colours, RGB."""
    grey = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    options = grey if frames[0].dtype == np.uint16 else []
    fourcc, size = cv2.VideoWriter.fourcc(*code), frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, rate, size, options)
    for frame in frames:
        writer.write(frame[..., ::-1] if frame.ndim == 3 else frame)
    writer.release()


def test_videos_are_paired_by_time(run, network, tmp_path, capsys):
    """Colours twice as fast as depth, both without loss: every second frame of them goes with one of depth."""
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (8, *SIZE, 3), dtype=np.uint8)
    depths = rng.integers(1, 30000, (4, *SIZE), dtype=np.uint16)
    film("rgb.mkv", colours, 20)
    film("depth.mkv", depths, 10)
    assert run("rgb=rgb.mkv", "depth=depth.mkv", "--heads", "labels", "--save", "ids", "video") == 0
    said = capsys.readouterr().out
    assert "rgb has 8 frames, 20 a second, depth has 4 frames, 10 a second: 4 of one time, within 50 ms" in said
    for i in range(4):
        batch = {
            "rgb": torch.from_numpy(colours[2 * i].transpose(2, 0, 1).copy())[None],
            "depth": torch.from_numpy(depths[i].astype(np.float32) / 5000)[None, None],
        }
        ids = expected(network, batch)["labels"].prediction["ensemble"]
        assert np.array_equal(picture(tmp_path / f"out/labels/{i:06d}.png"), ids)
    capture = cv2.VideoCapture(str(tmp_path / "out/labels_overlay.mp4"))
    read = [capture.read()[1] for _ in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))]
    assert (len(read), capture.get(cv2.CAP_PROP_FPS), read[0].shape) == (4, 10.0, (*SIZE, 3))
    overlay = picture(tmp_path / "out/labels_overlay/000001.png")
    assert np.abs(read[1][..., ::-1].mean((0, 1)) - overlay.mean((0, 1))).max() < 12  # it is compressed


def test_videos_that_hold_no_measurements_are_refused(run, capsys):
    film("small.avi", np.zeros((2, *SIZE, 3), np.uint8), 10, "MJPG")
    film("grey.mkv", np.ones((2, *SIZE), np.uint16), 10)
    Path("broken.mp4").write_bytes(b"nothing")
    for word, message in (
        ("depth=small.avi", "compressed by MJPG, which changes values"),
        ("rgb=grey.mkv", "grey of 16 bits; expected colours"),
        ("rgb=broken.mp4", "damaged, or no video"),
    ):
        assert run(word) == 2
        assert message in capsys.readouterr().err


DECLARED = """
classes.names = ["wall", "floor", "chair", "lamp", "box"]
label.folder = "label"
modalities.rgb = {folder = "rgb", unit = "rgb8"}
modalities.depth = {folder = "depth", unit = "metre", scale = 1000}
"""


def test_a_dataset_whose_split_has_no_labels(run, network, tmp_path, capsys):
    """Its own scale counts, not that of the training."""
    for name, frames in (("rgb", STEMS), ("depth", STEMS)):
        for stem in frames:
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / f"data/{name}/{stem}.png").write_bytes(Path(f"{name}/{stem}.png").read_bytes())
    (tmp_path / "data/dataset.toml").write_text(f'{DECLARED}splits = {{train = ["a"], val = ["b"], test = ["c", "d"]}}')
    data = str(tmp_path / "data")
    assert run(data, "--save", "ids") == 0
    assert sorted(path.name for path in (tmp_path / "out/labels").iterdir()) == ["c.png", "d.png"]
    ids = expected(network, arrays("d", 1000))["labels"].prediction["ensemble"]
    assert np.array_equal(picture(tmp_path / "out/labels/d.png"), ids)
    assert run(data, "--save", "ids", "--split", "val", "--modalities", "rgb", out="val") == 0
    alone = expected(network, {"rgb": arrays("b")["rgb"]})["labels"].prediction["ensemble"]
    assert np.array_equal(picture(tmp_path / "val/labels/b.png"), alone)
    (tmp_path / "data/depth/d.png").unlink()
    (tmp_path / "data/label").mkdir()
    (tmp_path / "data/label/b.png").write_bytes(b"damaged, but not read")
    (tmp_path / "data/dataset.toml").write_text(f'{DECLARED}splits = {{train = ["a"], val = ["b"]}}')
    assert run(data, "--save", "ids", out="last") == 0
    assert [path.name for path in (tmp_path / "last/labels").iterdir()] == ["b.png"]
    (tmp_path / "data/dataset.toml").write_text(f'{DECLARED}splits = {{train = ["a"], val = ["b"], test = ["c", "d"]}}')
    for words, message in (
        ((), "depth/d.png: no such file"),
        (("--split", "tset"), "--split tset: "),
        (("--split", "val", "--map", "depth", "scale=5"), "of which the dataset says what its files hold"),
    ):
        assert run(data, *words, out="none") == 2
        assert message in capsys.readouterr().err


def files_in(folder):
    """The bytes of all files below a folder, but what tells of the run."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    told = ("predict.json", "progress/", "index.html")
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(told)}


EVERYTHING = ("--save", "ids", "overlay", "areas", "--gallery")


def test_an_interrupted_run_goes_on(run, tmp_path, monkeypatch, capsys):
    """A kill leaves a torn line, a part of a file, and a frame whose files are there but not noted."""
    assert run(*BOTH, *EVERYTHING, out="whole") == 0
    write, count, killed = Outputs.write, [], ["c", "d"]

    def interrupted(self, result):
        count.append(result.sample_id)
        note = write(self, result)
        if result.sample_id in killed:
            raise KeyboardInterrupt
        return note

    monkeypatch.setattr(Outputs, "write", interrupted)
    assert run(*BOTH, *EVERYTHING) == 130
    assert "--resume goes on" in capsys.readouterr().err
    out = tmp_path / "out"
    with (out / "progress/0.jsonl").open("a") as notes:
        notes.write('{"id": "c", "fi')
    (out / f"labels/.c.png.{'0' * 32}.part").write_bytes(b"torn")
    count.clear()
    killed.clear()
    assert run(*BOTH, *EVERYTHING) == 2
    assert "not empty: choose another --out, --resume to go on with it, or --overwrite" in capsys.readouterr().err
    assert run(*BOTH, *EVERYTHING, "--resume", "--protocol", "rgbx-sliding", "--gallery") == 2
    assert "protocol was 'rgbx', is 'rgbx-sliding'" in capsys.readouterr().err
    assert run(*BOTH, *EVERYTHING, "--resume") == 0
    assert sorted(count) == ["c", "d"]
    assert "2 frames" in (said := capsys.readouterr().out) and ", 2 were there: " in said
    assert files_in(out) == files_in(tmp_path / "whole")
    page = (tmp_path / "whole/index.html").read_text()
    assert (out / "index.html").read_text() == page.replace(">whole<", ">out<")
    assert run(*BOTH, *EVERYTHING, "--resume") == 0
    assert f"all 4 frames were there already: {out}" in capsys.readouterr().out
    (out / "labels/b.png").unlink()
    for _ in range(2):
        assert run(*BOTH, *EVERYTHING, "--resume") == 0 and len(count) == 3
    assert files_in(out) == files_in(tmp_path / "whole")
    assert run(*BOTH, "--save", "ids", "--overwrite") == 0 and len(count) == 7
    assert not (out / "areas.json").exists() and not (out / "index.html").exists()


def test_any_name_and_a_record_that_a_full_disk_has_torn(run, root, tmp_path):
    """Names with what some take for the end of a line; of a torn record the frame is predicted again."""
    names = ["a\u2028b", "c\x85d", "new\nline", "#1", "x y,z"]
    (tmp_path / "rgb").mkdir()
    for name in names:
        shutil.copy(root / "rgb/a.png", tmp_path / f"rgb/{name}.png")
    words = (f"rgb={tmp_path / 'rgb'}", "--save", "ids", "areas", "--gallery")
    assert run(*words) == 0
    out, page = tmp_path / "out", (tmp_path / "out/index.html").read_text()
    assert sorted(json.loads((out / "areas.json").read_text())["frames"]) == sorted(names)
    with (out / "predictions.jsonl").open("a") as records:
        records.write('{"sample_id": "#1", "si')
    (out / "labels/#1.png").unlink()
    assert run(*words, "--resume") == 0 and (out / "index.html").read_text() == page
    assert len((out / "predictions.jsonl").read_text().split("\n")) == len(names) + 1


def test_a_name_in_a_list_may_begin_as_a_comment(run, root, tmp_path):
    shutil.copy(root / "rgb/a.png", tmp_path / "#1.png")
    (tmp_path / "list.txt").write_text(f"# files\n#1.png\n#2.png\n{root / 'rgb/b.png'}\n")
    assert run(f"rgb={tmp_path / 'list.txt'}", "--save", "ids", "--heads", "labels") == 0
    assert {path.name for path in (tmp_path / "out/labels").rglob("*.png")} == {"#1.png", "b.png"}


def test_processes_share_the_frames(run, tmp_path, monkeypatch, capsys):
    """Each does its part, and the one that comes to its end last writes what is of all frames."""
    assert run(*BOTH, *EVERYTHING, out="whole") == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    capsys.readouterr()
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert run(*BOTH, *EVERYTHING) == 0
        assert f"Process {rank} of 2: 2 frames" in capsys.readouterr().out
        assert (tmp_path / "out/areas.json").exists() == (rank == "1")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")


def test_shards_run_in_any_order(run, root, tmp_path, monkeypatch, capsys):
    """The first to begin is the third, whose job has two processes; what is of all frames is written when all are."""
    shutil.copytree(root / "rgb", tmp_path / "rgb")
    words = (f"rgb={tmp_path / 'rgb'}", *EVERYTHING)
    assert run(*words, out="whole") == 0
    out = tmp_path / "out"
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        assert run(*words, "--shard", "3/3") == 0
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    assert "Shard 3 of 3, process 0 of 2: 1 frame, " in capsys.readouterr().out
    assert [path.stem for path in (out / "labels").iterdir()] == ["c"] and not (out / "areas.json").exists()
    for asked, message in (
        ("2/4", "out was begun otherwise: shards was 3, is 4. Repeat what was asked for then, or choose another --out"),
        ("2/3 --protocol rgbx-sliding", "protocol was 'rgbx', is 'rgbx-sliding'"),
        ("2/3 --overwrite", "--overwrite would delete what other shards have written"),
    ):
        assert run(*words, "--shard", *asked.split()) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "rgb/d.png").rename(tmp_path / "rgb/e.png")
    assert (
        run(*words, "--shard", "1/3") == 2
        and "other tars of them, were listed before ({'count': 4" in capsys.readouterr().err
    )
    (tmp_path / "rgb/e.png").rename(tmp_path / "rgb/d.png")
    assert run(*words, "--shard", "1/3") == 0 and not (out / "areas.json").exists()
    assert run(*words, "--shard", "1/3") == 0 and "all 2 frames were there already" in capsys.readouterr().out
    assert run(*words, "--shard", "2/3") == 0
    assert files_in(out) == files_in(tmp_path / "whole")


def _predict(folder, words):
    os.chdir(folder)
    torch.set_num_threads(1)
    sys.exit(main(words))


def test_a_shard_that_was_killed_runs_again(run, root, tmp_path):
    """Four jobs of 40 frames, three at once, one killed in its midst and started again: as if nothing had been."""
    for k in range(40):
        (tmp_path / "rgb").mkdir(exist_ok=True)
        shutil.copy(root / f"rgb/{STEMS[k % 4]}.png", tmp_path / f"rgb/{k:02d}.png")
    words = (f"rgb={tmp_path / 'rgb'}", "--save", "ids", "areas", "--gallery")
    out, notes = tmp_path / "out", tmp_path / "out/progress/1.jsonl"

    def start(shard):
        further = ["--device", "cpu", "--out", str(out), "--shard", shard]
        process = FORKS.Process(target=_predict, args=(root, ["model.pth", *words, *further]), daemon=True)
        process.start()
        return process

    killed = start("2/4")
    while killed.is_alive() and not (notes.is_file() and notes.stat().st_size):
        time.sleep(0.005)
    killed.kill()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL and 0 < notes.read_bytes().count(b"\n") < 10
    jobs = [start("2/4"), start("4/4")]
    assert run(*words, "--shard", "1/4") == 0 and run(*words, "--shard", "3/4") == 0
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    assert run(*words, out="whole") == 0
    assert files_in(out) == files_in(tmp_path / "whole")


@pytest.fixture
def packed(root, tmp_path):
    """Seven frames as a folder, and as shards of two."""
    for name in ("rgb", "depth", "label"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for k in range(7):
        for name in ("rgb", "depth"):
            shutil.copy(root / f"{name}/{STEMS[k % 4]}.png", tmp_path / f"data/{name}/seq.{k}.png")
        cv2.imwrite(str(tmp_path / f"data/label/seq.{k}.png"), np.full(SIZE, k % 5, np.uint8))
    names = [f"seq.{k}" for k in range(7)]
    (tmp_path / "data/dataset.toml").write_text(f"{DECLARED}splits = {{test = {json.dumps(names)}}}")
    write_shards(tmp_path / "shards", {"test": build_dataset(tmp_path / "data", "test")}, "data", shard_mb=0.03)
    assert [shard.samples for shard in read_manifest(tmp_path / "shards")["test"].shards] == [2, 2, 2, 1]
    return tmp_path / "data", tmp_path / "shards"


def test_shards_to_shards(run, packed, tmp_path, monkeypatch, capsys):
    """Each tar holds what single files would, by other readers; jobs, one stopped in the midst of a tar, leave equal
    bytes; a tar that was there is not made again."""
    data, shards = map(str, packed)
    kinds = ("--save", "ids", "overlay", "confidence")
    assert run(data, *kinds, out="files") == 0 and run(shards, *kinds, out="again") == 0
    plain = files_in(tmp_path / "files")
    assert files_in(tmp_path / "again") == plain and len(plain) == 7 * 4
    assert run(shards, *kinds, "--tar", out="whole") == 0
    whole, files, seen, left = files_in(tmp_path / "whole"), Outputs.files, [], [1]

    def stopped(self, result):
        seen.append(result.sample_id)
        if len(seen) > left[0]:
            raise KeyboardInterrupt
        return files(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(Outputs, "files", stopped)
        assert run(shards, *kinds, "--tar", "--shard", "2/2") == 130
        left[0] = 99
        assert run(shards, *kinds, "--tar", "--shard", "1/2") == 0
        assert not (tmp_path / "out/shards.json").exists()
        assert run(shards, *kinds, "--tar", "--shard", "2/2") == 0
        seen.clear()
        assert run(shards, *kinds, "--tar", "--shard", "1/2") == 0 and not seen
        assert "2 tar files are there" not in capsys.readouterr().err
    assert files_in(tmp_path / "out") == whole
    assert sorted(whole) == sorted(
        [f"predictions/{k:06d}.{end}" for k in range(4) for end in ("tar", "idx")] + ["checksums.sha256", "shards.json"]
    )
    for line in whole["checksums.sha256"].decode().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256(whole[name]).hexdigest() == digest
    tars = [str(tmp_path / f"out/predictions/{k:06d}.tar") for k in range(4)]
    read = list(webdataset.WebDataset(tars, shardshuffle=False))
    found = {(json.loads(x["json"])["sample_id"], k): x[k] for x in read for k in x if k.endswith(".png")}
    expected = {(Path(name).stem, f"{name.partition('/')[0]}.png"): content for name, content in plain.items()}
    assert found == expected and [x["__key__"] for x in read][:2] == ["seq%2E0", "seq%2E1"]
    normal = ShardedDataset(tmp_path / "out", "predictions").read(6)
    assert np.array_equal(normal["labels"], picture(tmp_path / "files/labels/seq.6.png"))
    stored = picture(tmp_path / "files/normal/seq.6.png")
    assert np.abs(normal["normal"] - (stored / 32767.5 - 1)).max() < 1e-6
    assert run(data, *kinds, "--tar", "3", out="three") == 0
    assert [shard.samples for shard in read_manifest(tmp_path / "three")["predictions"].shards] == [3, 3, 1]
    assert run(data, *kinds, "--tar", "4", "--overwrite", out="three") == 0
    assert len(files_in(tmp_path / "three")) == 2 * 2 + 2
    shutil.rmtree(shards)
    write_shards(tmp_path / "shards", {"test": build_dataset(tmp_path / "data", "test")}, "data", shard_mb=1)
    assert run(shards, *kinds, "--tar", "--resume", out="whole") == 2 and "other tars" in capsys.readouterr().err
    assert run(shards, *kinds, "--tar", "--shard", "1/2") == 2 and "other tars of them" in capsys.readouterr().err
    assert run(data, *kinds, "--tar", "--gallery", out="none") == 2 and "--gallery is of" in capsys.readouterr().err


def test_what_cannot_be_is_refused_before_anything_is_written(run, root, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.png").write_bytes(b"mine")
    cases = {
        (
            "rgb=rgb",
            "dpeth=depth",
        ): "'dpeth' is no map of this model; this model knows rgb, depth; did you mean 'depth'",
        (*BOTH, "--branch", "dpeth"): "--branch dpeth: there is ensemble, rgb, depth; did you mean 'depth'?",
        (*BOTH, "--heads", "normals"): "this model has",
        (*BOTH, "--map", "thermal", "scale=1"): "--map describes ['thermal']",
        (*BOTH, "--map", "dpeth", "scale=1"): "; did you mean 'depth'?",
        (*BOTH, "--map", "depth", "scales=1"): "found 'scales=1'; did you mean 'scale'?",
        ("rgb=rgb", "--modalities", "depth"): "--modalities depth: it is not given",
        (*BOTH, "--heads", "normal", "--save", "areas"): "--save areas is of classes, which no head predicts",
    }
    for words, message in cases.items():
        assert run(*words) == 2
        assert message in capsys.readouterr().err, words
        assert not (tmp_path / "out").exists(), words
    assert run(*BOTH, "--resume", out="mine") == 2 and "holds no predict.json" in capsys.readouterr().err
    assert run("rgb=rgb/a.png", out="mine.png") == 2 and "say by --heads" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_a_run_that_fails_at_its_first_frame_leaves_nothing(run, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "eight.png"), np.full(SIZE, 99, np.uint8))
    words = ("rgb=rgb/a.png", f"depth={tmp_path / 'eight.png'}")
    assert run(*words, out="deep/out") == 2
    assert "if it is, state --map depth scale=STEPS_PER_METRE and --map depth bits=8" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"eight.png"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert run(*words, "--overwrite", out="mine") == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rgb --out o", "rgb: no folder of a dataset, nor MAP=PATH"),
        ("rgb=rgb --out o --split val", "--split is of a dataset's folder"),
        ("rgb=rgb --out o --max-gap 1", "--max-gap is of lists and videos; files and folders are matched by"),
        ("rgb=rgb depth=depth/a.png --out o", "rgb is a folder, depth is a file; give all maps in one form"),
        ("rgb=rgb --out o --save video", "--save video is for videos"),
        ("rgb=rgb --out o --resume --overwrite", "exclude each other"),
        ("rgb=rgb --out rgb/o", "lies in rgb, which is an input"),
        ("rgb=rgb --out o.png", "is for one frame of files"),
        ("rgb=rgb/a.png --out o.png --save ids strip", "takes one --save"),
        ("rgb=rgb/a.png --out o.png --masks --gallery", "strip, without --gallery and --masks; for more give"),
        ("rgb=rgb/a.png --out rgb/a.png --overwrite", "is an input"),
        ("rgb=rgb --out model.pth", "is a file; expected a folder"),
        ("rgb=rgb --out . --overwrite", "--out . holds rgb, which is an input"),
        ("rgb=rgb/a.png --out strip.jpg --save strip", "give FILE.png, or a folder"),
        ("rgb=rgb/a.png --out film.mp4", "give FILE.png, or a folder"),
    ],
)
def test_mistakes_in_the_arguments(root, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(root)
    if words.startswith("rgb --out"):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "model.pth").touch()
        monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, OSError), match=re.escape(message)):
        parse("predict", ["model.pth", *words.split()])


def test_what_the_user_says_of_files():
    name, said = parse_map(["depth", "scale=1000", "missing=65535"])
    assert (name, said) == ("depth", {"scale": 1000.0, "missing": 65535.0})
    added = parse_maps([["depth", "scale=1000"], ["thermal", "scale=5"], ["depth", "missing=65535"]])
    assert added == {"depth": said, "thermal": {"scale": 5.0}}
    assert Encoding.of_dict(MapSpec.of_unit("depth", "metre"), {"scale": said["scale"]}).steps == 1000
    words = ["half_step=0.5", "holes=false", "normalise=true", "clips=true", "bits=16", "log=11.1", "add=2", "key=a"]
    words += ["layout=CHW"]
    _, said = parse_map(["x", "unit=relative", "scale=3", "missing=0", *words])
    assert said == {
        "unit": "relative", "scale": 3.0, "missing": 0.0, "half_step": 0.5, "holes": False, "normalise": True,
        "clips": True, "bits": 16, "log": 11.1, "add": 2.0, "key": "a", "layout": "CHW",
    }  # fmt: skip
    assert set(said) == set(OPTIONS)  # whatever `predict` in Python takes
    with pytest.raises(ConfigError, match=r"found 'holes=maybe'$"):
        parse_map(["depth", "holes=maybe"])


@pytest.mark.parametrize("name", ["predict", "translate", "retrieve"])
def test_the_help_names_all_that_can_be_said(name):
    (option,) = [action for action in build_parser(name)._actions if "--map" in action.option_strings]
    assert [word for word in OPTIONS if not re.search(rf"\b{word}\b", option.help)] == []


def test_a_map_to_one_file_is_its_values(run, network, tmp_path, capsys):
    assert run("rgb=rgb/a.png", "depth=depth/a.png", "--heads", "normal", out="n.png") == 0
    assert "ids of normal written: " in capsys.readouterr().out
    stored = picture(tmp_path / "n.png") / 32767.5 - 1
    truth = expected(network, arrays("a"))["normal"].prediction["ensemble"].numpy().transpose(1, 2, 0)
    assert np.abs(stored - truth / np.linalg.norm(truth, axis=2, keepdims=True)).max() < 1e-4


def test_several_words_of_one_map_are_one():
    words = [["depth", "scale=1000"], ["rgb", "key=x"], ["depth", "missing=0", "missing=9"], ["depth", "missing=7"]]
    assert parse_maps(words) == {"depth": {"scale": 1000.0, "missing": (0.0, 9.0, 7.0)}, "rgb": {"key": "x"}}
    with pytest.raises(ConfigError, match="--map depth says scale twice"):
        parse_maps([["depth", "scale=1000"], ["depth", "scale=5000"]])


def contents(folder):
    """The bytes of all files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def inputs(root, tmp_path):
    """A folder whose maps are named as the heads of a model are, and the model beside it."""
    state = torch.load(root / "model.pth", weights_only=False)
    own = diverse(small(None, modalities=("rgb", "depth"), heads={"depth": LABELS})).eval()
    torch.save({**state, "state_dict": own.state_dict(), "model": to_plain(own.recipe)}, tmp_path / "own.pth")
    shutil.copytree(root / "rgb", tmp_path / "in/rgb")
    shutil.copytree(root / "depth", tmp_path / "in/depth")
    return tmp_path / "in"


def predict_own(inputs, *words, out):
    return main([str(inputs.parent / "own.pth"), *words, "--out", str(out), "--overwrite", "--device", "cpu"])


def test_inputs_are_never_replaced(inputs, tmp_path, capsys):
    """As folders, by lists and links, of a dataset, and those that an earlier run has written."""
    for name in ("rgb", "depth"):
        (tmp_path / f"{name}.txt").write_text("".join(f"in/{name}/{stem}.png\n" for stem in STEMS))
        (tmp_path / f"links/{name}").mkdir(parents=True)
        for stem in STEMS:
            (tmp_path / f"links/{name}/{stem}.png").symlink_to(inputs / f"{name}/{stem}.png")
    (tmp_path / "data").mkdir()
    splits = 'splits = {test = ["a", "b", "c", "d"]}'
    declared = DECLARED.replace('folder = "', 'folder = "in/')
    (tmp_path / "data/dataset.toml").write_text(declared + splits)
    (tmp_path / "data/in").symlink_to(inputs)
    before, links = contents(inputs), tmp_path / "links"
    for words in (
        (f"rgb={inputs / 'rgb'}", f"depth={inputs / 'depth'}"),
        (f"rgb={inputs / 'rgb'}", f"depth={inputs / 'depth'}", "--modalities", "rgb"),
        (f"rgb={tmp_path / 'rgb.txt'}", f"depth={tmp_path / 'depth.txt'}"),
        (f"rgb={links / 'rgb'}", f"depth={links / 'depth'}"),
        (str(tmp_path / "data"),),
    ):
        assert predict_own(inputs, *words, out=inputs) == 2, words
        assert re.search(r"which is an input.*; write elsewhere", capsys.readouterr().err), words
        assert contents(inputs) == before, words
    made = tmp_path / "made"
    assert predict_own(inputs, f"rgb={inputs / 'rgb'}", "--save", "ids", out=made) == 0
    before = contents(made)
    (tmp_path / "again.txt").write_text("".join(f"made/depth/{stem}.png\n" for stem in STEMS))
    again = (f"rgb={tmp_path / 'rgb.txt'}", f"depth={tmp_path / 'again.txt'}")
    for words in (("--save", "ids"), ("--save", "overlay")):  # the second would only clear them away
        assert predict_own(inputs, *again, *words, out=made) == 2
        assert contents(made) == before


def test_overwriting_leaves_nothing_of_the_earlier_run_and_all_of_others(run, root, tmp_path, capsys):
    assert run(*BOTH, *EVERYTHING, out="out") == 0
    out = tmp_path / "out"
    others = {"progress/notes.jsonl": b"1", "labels/mine.txt": b"2", "notes.part.txt": b"3", "pictures/me.jpg": b"4"}
    for name, content in others.items():
        (out / name).write_bytes(content)
    Path("other").mkdir(exist_ok=True)
    Path("other/e.png").write_bytes(Path("rgb/a.png").read_bytes())
    words = ("rgb=other", "--save", "overlay", "--gallery", "--heads", "labels")
    assert run(*words, "--overwrite", out="out") == 0
    assert run(*words, out="fresh") == 0
    found, fresh = contents(out), contents(tmp_path / "fresh")
    assert {name: found.pop(name) for name in others} == others
    assert found.keys() == fresh.keys()
    page = (out / "index.html").read_text()
    assert page == (tmp_path / "fresh/index.html").read_text().replace(">fresh<", ">out<")


@pytest.mark.parametrize("name", ["index.html", "areas.json", "progress/notes.jsonl", "labels/a.png", "predict.json"])
def test_a_folder_of_others_is_left_alone(run, tmp_path, capsys, name):
    path = tmp_path / "site" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert run(*BOTH, "--save", "ids", "--overwrite", out="site") == 2
    assert "is there already, and of no earlier run: choose another --out" in capsys.readouterr().err
    assert contents(tmp_path / "site") == {name: b"mine"}


@pytest.mark.parametrize("word", ["--resume", "--overwrite"])
def test_a_kill_before_the_first_note_is_no_hindrance(run, tmp_path, word):
    assert run(*BOTH, "--gallery", out="out") == 0
    (tmp_path / "out/progress/0.jsonl").write_bytes(b"")
    (tmp_path / "out/index.html").unlink()
    assert run(*BOTH, "--gallery", word, out="out") == 0
    assert (tmp_path / "out/index.html").exists()


def test_a_torn_note_of_a_picture_is_no_hindrance(run, tmp_path, monkeypatch, capsys):
    """A full disk leaves a part of a line; what follows begins on its own, and the page has every frame."""
    assert run(*BOTH, "--gallery", out="whole") == 0
    noted, killed = Progress.add, ["b"]

    def interrupted(self, note):
        if note["id"] in killed:
            with (self.folder / "predictions.jsonl").open("r+b") as file:
                file.truncate(file.seek(0, 2) - 20)
            raise OSError(28, "No space left on device", "predictions.jsonl")
        noted(self, note)

    monkeypatch.setattr(Progress, "add", interrupted)
    monkeypatch.setattr("rgbx.cli.predict.THREADS", 1)
    assert run(*BOTH, "--gallery") == 2
    killed.clear()
    assert run(*BOTH, "--gallery", "--resume") == 0
    page = (tmp_path / "whole/index.html").read_text()
    assert (tmp_path / "out/index.html").read_text() == page.replace(">whole<", ">out<")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")


def test_too_little_memory_leaves_nothing_or_what_can_go_on(run, tmp_path, monkeypatch, capsys):
    """At the first frame, and at a later one."""
    compute, left = Predictor.__call__, [0]

    def limited(self, *args, **options):
        if not left[0]:
            torch.empty(1 << 50)
        left[0] -= 1
        return compute(self, *args, **options)

    monkeypatch.setattr(Predictor, "__call__", limited)
    assert run(*BOTH) == 2
    assert "the memory was not enough" in (said := capsys.readouterr().err) and "--batch-size" in said
    assert not (tmp_path / "out").exists()
    left[0] = 3
    assert run(*BOTH) == 2
    assert "the same command with --resume goes on" in capsys.readouterr().err
    left[0] = 4
    assert run(*BOTH, "--resume") == 0


def test_processes_that_end_together_write_videos_of_their_own(tmp_path, monkeypatch):
    """The second begins while the first writes, and neither takes the other's part for its own."""
    (tmp_path / "labels").mkdir()
    for stem in STEMS:
        cv2.imwrite(str(tmp_path / f"labels/{stem}.png"), np.full((*SIZE, 3), 99, np.uint8))

    def while_another_writes():
        yield "a"
        write_video(tmp_path, "labels", STEMS, 5.0)
        yield from STEMS[1:]

    path = write_video(tmp_path, "labels", while_another_writes(), 5.0)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == len(STEMS)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["labels", "labels.mp4"]
