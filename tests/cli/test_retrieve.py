"""rgbx retrieve: what it prints and writes, that an index is used again and a stale one told, and its errors."""

import json
import os
import re

import cv2
import numpy as np
import pytest
import torch
from small_models import small

import rgbx
from rgbx.cli import retrieve
from rgbx.cli.main import main
from rgbx.datasets import SyntheticRooms
from rgbx.metrics import retrieval
from rgbx.models import search
from rgbx.models.checkpoint import to_plain
from rgbx.models.search import CodeIndex

SIZE, COUNT = (48, 64), 4


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint, and rooms as folders of maps."""
    root = tmp_path_factory.mktemp("retrieve")
    rooms = SyntheticRooms(split="test", num_frames=COUNT, size=SIZE, root=root / "rooms")
    for index in range(COUNT):
        rooms.write(index)
    save(root / "codes.pth", small(heads={"codes": dict(task="embedding", dim=6)}, fusion="late"))
    return root


def save(path, model):
    about = {"maps": {}, "stored": {"depth": {"scale": 1000.0}}}
    state = {"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": {"epoch": 1, "dataset": about}}
    torch.save(state, path)


def words(place, *more, query=None, index=None):
    folder = place / "rooms/test"
    given = ["--index", index or f"depth={folder / 'depth'}", "--query", query or f"rgb={folder / 'rgb'}"]
    return ["retrieve", str(place / "codes.pth"), *given, *more, "--map", "depth", "scale=1000"]


def test_frames(place, tmp_path, capsys):
    assert main(words(place, "--out", str(tmp_path), "--top", "3")) == 0
    printed = capsys.readouterr().out
    assert f"{COUNT} frames of depth indexed" in printed
    assert f"Right is the frame of the same name; of {COUNT} queries" in printed
    model = rgbx.load(place / "codes.pth")
    files = {name: sorted((place / "rooms/test" / name).glob("*.png")) for name in ("rgb", "depth")}
    depth = np.stack([model.predict(depth=file, depth_scale=1000)["codes"].code for file in files["depth"]])
    rgb = np.stack([model.predict(rgb=file)["codes"].code for file in files["rgb"]])
    np.testing.assert_allclose(CodeIndex.read(tmp_path / "index.npz").codes, depth, atol=1e-5)
    rows = json.loads((tmp_path / "retrieved.json").read_text())
    assert [row["query"] for row in rows] == [file.stem for file in files["rgb"]]
    for row, cosine in zip(rows, rgb @ depth.T, strict=True):
        order = np.argsort(-cosine)[:3]
        assert [answer["found"] for answer in row["answers"]] == [files["depth"][i].stem for i in order]
        assert [answer["cosine"] for answer in row["answers"]] == pytest.approx(cosine[order].tolist(), abs=1e-5)
        assert all(answer["right"] == (answer["found"] == row["query"]) for answer in row["answers"])
    picture = cv2.imread(str(tmp_path / "retrieved.png"))
    assert picture.shape[0] > COUNT * 120 and picture.shape[1] > 4 * 160


def test_regions_by_masks(place, tmp_path, capsys):
    masks = place / "rooms/test/label"
    one = f"rgb={place / 'rooms/test/rgb/000001.png'}"
    assert main(words(place, "--masks", str(masks), "--out", str(tmp_path), query=one)) == 0
    label = {file.stem: cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in masks.glob("*.png")}
    expected = [(stem, k) for stem in sorted(label) for k in np.unique(label[stem]) if k != 255]
    index = CodeIndex.read(tmp_path / "index.npz")
    assert list(zip(index.frames, index.regions.tolist(), strict=True)) == expected
    assert f"{len(expected)} regions of {COUNT} frames of depth indexed" in capsys.readouterr().out
    rows = json.loads((tmp_path / "retrieved.json").read_text())
    assert [row["query"] for row in rows] == [f"000001 [{k}]" for k in np.unique(label["000001"]) if k != 255]
    for row in rows:
        own = re.search(r"\[\d+\]", row["query"])[0]
        assert all(answer["right"] == answer["found"].endswith(own) for answer in row["answers"])


def test_masks_of_cameras_that_are_not_registered(place, tmp_path):
    """Of each sensor its own: those of RGB are mirrored."""
    masks = place / "rooms/test/label"
    (tmp_path / "mirrored").mkdir()
    for file in masks.glob("*.png"):
        label = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(tmp_path / "mirrored" / file.name), label[:, ::-1])
    own = ["--masks", f"depth={masks}", "--masks", f"rgb={tmp_path / 'mirrored'}"]
    assert main(words(place, *own, "--out", str(tmp_path / "own"), "--top", "1000", "--draw-count", "1")) == 0
    assert main(words(place, "--masks", str(masks), "--index-file", str(tmp_path / "both.npz"))) == 0
    indices = [CodeIndex.read(tmp_path / name) for name in ("own/index.npz", "both.npz")]
    np.testing.assert_array_equal(indices[0].codes, indices[1].codes)
    model, index = rgbx.load(place / "codes.pth"), indices[0]
    (row,) = [row for row in json.loads((tmp_path / "own/retrieved.json").read_text()) if row["query"] == "000000 [0]"]
    label = cv2.imread(str(tmp_path / "mirrored/000000.png"), cv2.IMREAD_UNCHANGED)
    answer = model.predict(rgb=place / "rooms/test/rgb/000000.png")["codes"]
    (code,) = answer.codes_of(np.where(label == 0, 0, -1))
    assert [x["cosine"] for x in row["answers"]] == pytest.approx(sorted(index.codes @ code)[::-1], abs=1e-5)


def test_many_pairs_are_scored_in_blocks(place, monkeypatch, capsys):
    said = []
    for block in (retrieval.BLOCK, 5):
        monkeypatch.setattr(retrieval, "BLOCK", block)
        assert main(words(place)) == 0
        said.append(re.sub(r"in [\d.]+ s", "", capsys.readouterr().out))
    assert said[0] == said[1]
    monkeypatch.setattr(retrieve, "MOST_PAIRS", 15)
    assert main(words(place)) == 0
    told = capsys.readouterr().out
    assert "not told of more than 15 pairs" in told and "right" in told


def test_a_graph_is_kept_beside_the_index_and_its_answers_are_called_approximate(place, tmp_path, monkeypatch, capsys):
    pytest.importorskip(search.LIBRARY, reason="no hnswlib: pip install 'rgbx[retrieval]'")
    rows = []
    for limits in ((10**5, 300, 50_000), (1, 1, 1), (1, 1, 10)):
        for name, value in zip(("MANY", "PAYS_TO_READ", "PAYS_TO_BUILD"), limits, strict=True):
            monkeypatch.setattr(search, name, value)
        assert main(words(place, "--out", str(tmp_path))) == 0
        assert ("The search is approximate" in capsys.readouterr().out) == (limits[0] == 1)
        rows.append(json.loads((tmp_path / "retrieved.json").read_text()))
    assert rows[0] == rows[1] == rows[2] and (tmp_path / "index.hnsw").is_file()


def test_an_index_is_used_again_until_it_is_stale(place, tmp_path, capsys):
    folder = tmp_path / "depth"
    folder.mkdir()
    for file in (place / "rooms/test/depth").glob("*.png"):
        (folder / file.name).write_bytes(file.read_bytes())
    given = words(place, "--index-file", str(tmp_path / "kept.npz"), index=f"depth={folder}")
    said = []
    for change in (None, None, "gone", "options"):
        if change == "gone":
            (folder / "000000.png").unlink()
        assert main([*given[:-1], "scale=500"] if change == "options" else given) == 0
        said.append(capsys.readouterr().out)
    assert "indexed in" in said[0] and "made before" in said[1]
    assert "kept.npz is made anew: 1 file gone" in said[2] and "--map says something else" in said[3]
    assert not (tmp_path / "retrieved.png").exists()
    save(place / "other.pth", small(1, heads={"codes": dict(task="embedding", dim=6)}, fusion="late"))
    assert main([given[0], str(place / "other.pth"), *given[2:-1], "scale=500"]) == 0
    assert "it is of another checkpoint" in capsys.readouterr().out


def test_a_dataset_without_labels(place, capsys):
    assert main(words(place, "--split", "test", index=f"depth={place / 'rooms'}")[:-3]) == 0
    assert "Right is the frame of the same name" in capsys.readouterr().out


def test_names_that_tell_nothing(place, tmp_path, capsys):
    (tmp_path / "elsewhere.png").write_bytes((place / "rooms/test/rgb/000000.png").read_bytes())
    assert main(words(place, query=f"rgb={tmp_path / 'elsewhere.png'}")) == 0
    assert "what is right is not told" in capsys.readouterr().out


def test_errors_teach(place, tmp_path, capsys):
    rooms = place / "rooms/test"
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks/000000.png"), np.zeros((3, 4), np.uint8))
    save(tmp_path / "labels.pth", small("classes"))
    for name in ("void", "empty", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/index.npz").write_bytes(b"PK and nothing more")
    for number in range(COUNT):
        cv2.imwrite(str(tmp_path / f"void/{number:06d}.png"), np.full(SIZE, 255, np.uint8))
    cases = [
        (words(place, "--masks", str(tmp_path / "void")), "no frame of depth has a region: all masks are 255 alone"),
        (words(place, "--masks", f"depth={rooms / 'label'}"), "--masks has none for rgb; add rgb=FOLDER"),
        (words(place, "--masks", f"thermal={rooms / 'label'}"), "'thermal' is not searched, depth and rgb are"),
        (words(place, *["--masks", str(rooms / "label")] * 2), "depth has masks already; give MAP=FOLDER once"),
        (words(place, "--masks", f"depth={tmp_path / 'labels'}"), "--masks depth=.*labels: no such folder"),
        (words(place, query=f"thermal={rooms / 'rgb'}"), "'thermal' is no map of this model; it knows rgb, depth"),
        (words(place, index=f"depth={rooms / 'depth/000000.png'}"), "is one file; expected a folder"),
        (words(place, "--masks", str(tmp_path / "masks")), r"expected one size"),
        (words(place, "--masks", str(tmp_path)), "--masks of depth hold no image '000000'"),
        (words(place, index=f"depth={tmp_path / 'empty'}"), "--index depth=.*empty: the folder is empty"),
        (words(place, query=f"rgb={tmp_path / 'empty'}"), "--query rgb=.*empty: the folder is empty"),
        (words(place, "--index-file", str(tmp_path / "folder")), "--index-file .*folder is a folder; expected a file"),
        (words(place, "--out", str(tmp_path / "damaged")), "damaged, or no index .* delete it, and it is made anew"),
        (
            words(place, "--index-file", str(rooms / "rgb/000003.png")),
            r"\S*000003\.png is no index of codes; expected one \(\.npz\), or a file not there yet\n$",
        ),
        (words(place, "--index-file", str(tmp_path / "viod/x.npz")), r"no such folder .*viod; did you mean 'void'\?"),
        (words(place, "--map", "thermal", "scale=2"), r"--map describes \['thermal'\], but the maps are"),
        (words(place, "--map", "detph", "scale=2"), r"\['detph'\], but the maps are .*; did you mean 'depth'\?"),
        (words(place, "--split", "tst"), "--split is of a dataset's folder; found files of maps in .*depth and .*rgb"),
        (words(place, "--split", "tst", index=f"depth={place / 'rooms'}")[:-3], "--split tst: .*test"),
        (words(place, "--draw-count", "3"), "--draw-count is of the picture in the folder of --out"),
        (words(place, "--head", "labels"), "--head labels: those that embed are codes"),
        (["retrieve", str(tmp_path / "labels.pth"), *words(place)[2:]], "no head that embeds; its heads are labels"),
    ]
    for given, message in cases:
        assert main(given) == 2, message
        assert re.search(message, capsys.readouterr().err), message
    assert not (tmp_path / "viod").exists() and cv2.imread(str(rooms / "rgb/000003.png")) is not None
    inside = tmp_path / "fresh/more/kept.npz"
    assert main(words(place, "--out", str(tmp_path / "fresh"), "--index-file", str(inside))) == 0 and inside.is_file()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(place, tmp_path, monkeypatch, capsys):
    real, fresh = os.access, tmp_path / "kept.npz"
    assert main(words(place, "--index-file", str(fresh))) == 0
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and real(path, mode))
    assert main(words(place, "--index-file", str(fresh))) == 0  # which is not written
    monkeypatch.setattr(retrieve.Sensor, "encode", None)
    for given, told in (("--out", "give --out another folder"), ("--index-file", "keep the index elsewhere")):
        capsys.readouterr()
        assert main(words(place, given, str(tmp_path / "new"))) == 2
        assert f"as {tmp_path} is read-only: {told}" in capsys.readouterr().err


def test_pictures_of_any_shape_and_many_answers_make_a_picture_to_look_at(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "odd").mkdir()
    for name, size in (("wide", (900, 3)), ("narrow 深", (2, 400)), ("dot", (1, 1))):
        cv2.imencode(".png", np.full((*size[::-1], 3), 90, np.uint8))[1].tofile(tmp_path / "odd" / f"{name}.png")
    monkeypatch.setattr(retrieve, "DRAWN", 2)
    assert main(words(place, "--out", str(tmp_path / "ö"), "--top", "999", query=f"rgb={tmp_path / 'odd'}")) == 0
    assert "the first 2 of all drawn" in capsys.readouterr().out
    rows = json.loads((tmp_path / "ö/retrieved.json").read_text())
    assert [row["query"] for row in rows] == ["dot", "narrow 深", "wide"]
    assert all(len(row["answers"]) == COUNT for row in rows)
    picture = cv2.imdecode(np.fromfile(tmp_path / "ö/retrieved.png", np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[0] < 3 * 180 and picture.shape[1] < 3 * 260


def test_masks_of_frames_in_folders(place, tmp_path):
    """Of two days with equal names, each frame's own."""
    for name in ("depth", "label"):
        for day, file in (("a", "000000"), ("b", "000001")):
            (tmp_path / name / day).mkdir(parents=True)
            content = (place / f"rooms/test/{name}/{file}.png").read_bytes()
            (tmp_path / name / day / "0.png").write_bytes(content)
    (tmp_path / "depth/2.png").write_bytes((place / "rooms/test/depth/000002.png").read_bytes())
    (tmp_path / "label/2.png").write_bytes((place / "rooms/test/label/000002.png").read_bytes())
    own = f"depth={tmp_path / 'depth'}"
    masks = str(tmp_path / "label")
    assert main(words(place, "--masks", masks, "--index-file", str(tmp_path / "i.npz"), index=own, query=own)) == 0
    index = CodeIndex.read(tmp_path / "i.npz")
    for frame, file in (("a/0", "000000"), ("b/0", "000001"), ("2", "000002")):
        label = cv2.imread(str(place / f"rooms/test/label/{file}.png"), cv2.IMREAD_UNCHANGED)
        found = [k for name, k in zip(index.frames, index.regions.tolist(), strict=True) if name == frame]
        assert found == [k for k in np.unique(label).tolist() if k != 255]
