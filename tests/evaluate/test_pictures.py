"""Pictures of inputs, truth and predictions, and predictions as files, for every task."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from session_data import Rooms, loader, made

from rgbx.evaluate.pictures import PictureObserver, PredictionWriter, frame_at_label
from rgbx.evaluate.session import Session
from rgbx.maps.colour import HOLE, IGNORED, class_legend, colour_input, colour_labels, colour_map, overlay_labels
from rgbx.maps.spec import MapSpec
from rgbx.tasks import Map, Prediction

META = {"classes": ("a", "b", "c"), "palette": [[255, 0, 0], [0, 255, 0], [0, 0, 255]], "ignore_index": 255}


def test_labels_take_the_palette():
    picture = colour_labels(np.array([[0, 2, 255]]), META["palette"])
    assert picture.tolist() == [[[255, 0, 0], [0, 0, 255], list(IGNORED)]]
    task = made("classes").tasks["labels"]
    assert np.array_equal(task.draw(np.array([[0, 2, 255]]), META), picture)


@pytest.mark.parametrize("alpha", [0, 0.3, 0.5, 1])
def test_an_overlay_is_the_mean_of_every_pixel(alpha):
    rng = np.random.default_rng(0)
    ids = rng.choice([0, 1, 2, 7, 255], (31, 40))
    image = rng.integers(0, 256, (3, 31, 40), np.uint8).transpose(1, 2, 0)
    colours = colour_labels(ids, META["palette"]).astype(np.float32)
    naive = ((1 - alpha) * image.astype(np.float32) + alpha * colours).round()
    found = overlay_labels(ids, META["palette"], image, alpha)
    assert found.dtype == np.uint8 and np.array_equal(found, naive)


def test_legend_names_what_occurs():
    legend = class_legend([np.array([0, 255]), np.array([2])], META)
    assert legend == {"a": [255, 0, 0], "c": [0, 0, 255], "not labelled": IGNORED}


def test_holes_are_dark_and_the_rest_is_not():
    depth = np.array([[[0.0, 1.0, 2.0, 3.0]]], np.float32)
    picture = colour_input("depth", depth)
    assert tuple(picture[0, 0]) == HOLE
    assert picture[0, 1:].max(-1).min() > 80
    assert len(set(picture[0, 1:].astype(int).sum(-1).tolist())) == 3
    assert (colour_map(np.zeros((2, 2)), np.zeros((2, 2), bool)) == HOLE).all()


def test_other_inputs():
    rgb = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert np.array_equal(colour_input("rgb", rgb), rgb.transpose(1, 2, 0))
    normal = np.array([0.0, -1.0, 1.0]).reshape(3, 1, 1)
    assert colour_input("normal", normal).tolist() == [[[127, 0, 255]]]


def test_depth_is_drawn_on_the_scale_of_the_truth():
    task, truth = Map("depth"), np.linspace(1, 3, 24, dtype=np.float32).reshape(1, 4, 6)
    drawn = task.draw(truth, {}, truth=truth)
    assert np.array_equal(drawn, task.draw(truth.copy(), {}, truth=truth))
    beyond = task.draw(truth + 9, {}, truth=truth)
    assert len(np.unique(beyond.reshape(-1, 3), axis=0)) == 1
    holes = task.draw(truth, {}, truth=truth, valid=truth > 2, masked=True)
    assert (holes[:2] == HOLE).all() and (holes[2:].sum(-1) > 0).all()
    whole = task.draw(truth, {}, truth=truth, valid=truth > 2)
    assert (whole.sum(-1) > 0).all()
    wrong = task.error(truth + np.eye(4, 6, dtype=np.float32), truth, None, {})
    assert wrong.astype(int).sum(-1)[0, 0] > wrong.astype(int).sum(-1)[0, 1]


@pytest.mark.parametrize(
    ("kind", "by_subset", "titles"),
    [
        ("classes", False, ["RGB", "depth", "truth", "RGB branch", "depth branch", "ensemble"]),
        ("map", True, ["RGB", "depth", "truth", "both", "depth alone"]),
        ("both", False, ["RGB", "depth", *(f"{h}: {x}" for h in ("labels", "normal") for x in
                                           ("truth", "RGB branch", "depth branch", "ensemble"))]),
    ],
)  # fmt: skip
def test_evenly_spaced_samples_are_kept(kind, by_subset, titles, tmp_path):
    model, dataset = made(kind), Rooms(5)
    observer = PictureObserver(model, dataset.metainfo, count=3, by_subset=by_subset)
    session = Session(model, loader(dataset))
    for subset in (("rgb", "depth"), ("depth",))[: 1 + by_subset]:
        session.evaluate(subset, [observer])
    ids = [dataset[index]["sample_id"] for index in (0, 2, 4)]
    assert list(observer.panels) == ids
    assert list(observer.panels[ids[0]]) == titles
    found = model.predict({key: value[None] for key, value in dataset[2].items() if isinstance(value, torch.Tensor)})
    head = list(model.heads)[-1]
    expected = model.tasks[head].draw(found[0]["heads"][head].prediction["ensemble"].numpy(), dataset.metainfo)
    assert np.array_equal(observer.panels[ids[1]]["both" if by_subset else titles[-1]], expected)
    paths = observer.draw(tmp_path / "pictures")
    assert [path.name for path in paths] == [f"{name.replace('/', '_')}.png" for name in ids]
    shapes = [cv2.imread(str(path)).shape for path in [*paths, tmp_path / "pictures/grid.png"]]
    assert (
        all(shape[1] > 2 * shape[0] for shape in shapes[:3])
        and shapes[3][0] / shapes[3][1] > 2 * shapes[0][0] / shapes[0][1]
    )


def test_a_grid_has_titles_once(tmp_path, monkeypatch):
    model, dataset = made("both"), Rooms(2)
    observer = PictureObserver(model, dataset.metainfo, count=2)
    Session(model, loader(dataset)).evaluate(observers=[observer])
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    observer.draw_grid(tmp_path / "grid.png")
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == [*observer.panels[next(iter(observer.panels))], *[""] * 10]


def test_samples_are_spread_over_this_processs_share():
    observer = PictureObserver(made("classes"), META, count=3)
    observer.start(5, ("rgb",))
    assert observer._wanted == {0, 2, 4}
    with pytest.raises(ValueError, match="must be >= 1"):
        PictureObserver(made("classes"), META, count=0)


def test_inputs_are_shown_as_the_network_tells_them_apart():
    """What lies far beyond the range leaves the differences inside it visible."""
    depth = torch.linspace(2, 9, 32).repeat(1, 1, 24, 1)
    depth[..., -8:, -8:] = 1000
    batch = {"depth": depth, "sample_id": ["a"]}
    observer = PictureObserver(made("map"), META)
    observer.start(1, ("depth",))
    observer.see(batch, observer.model.predict(batch))
    picture = observer.panels["a"]["depth"].astype(int)
    assert np.abs(picture[0, 20] - picture[0, 0]).max() > 60


def test_of_a_clip_the_frame_nearest_to_the_label_is_shown():
    clip = {
        "depth": torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 3),
        "depth_valid": torch.tensor([False, True, False, True]).view(4, 1, 1, 1).expand(4, 1, 2, 3),
        "depth_time": torch.tensor([10.0, 10.1, 10.2, 10.3], dtype=torch.float64),
        "time": torch.tensor(10.14, dtype=torch.float64),
    }
    image, valid = frame_at_label("depth", clip)
    assert image.shape == valid.shape == (1, 2, 3) and image.min() == image.max() == 1 and valid.all()
    image, valid = frame_at_label("depth", {"depth": clip["depth"][2]})
    assert image.min() == image.max() == 2 and valid is None


def test_metres_of_any_name_are_bright_where_they_are_near():
    """As the bars of predictions have it."""
    model = SimpleNamespace(modalities=("range",), data_preprocessor=SimpleNamespace(clipped=lambda name, image: image))
    observer = PictureObserver(model, {"maps": {"range": MapSpec.of_unit("range", "metre")}})
    ramp = torch.linspace(1, 9, 32).repeat(1, 1, 4, 1)
    ((title, picture),) = observer._inputs({"range": ramp}, 0)
    assert title == "range" and picture[0, 0].sum() > picture[0, 16].sum() + 100 > picture[0, -1].sum() + 150


class Shifted:
    def __init__(self):
        self.metainfo = {**META, "maps": {}}

    def encode_label(self, label):
        return label + 10

    def prediction_name(self, sample_id):
        return f"{sample_id}.png"


def outputs(*ids, heads=("labels",), value=1):
    labels = torch.full((4, 6), value, dtype=torch.uint8)
    found = {"labels": Prediction({"ensemble": labels, "rgb": labels * 0}), "normal": Prediction({"ensemble": NORMALS})}
    return [{"sample_id": name, "heads": {head: found[head] for head in heads}} for name in ids]


NORMALS = torch.nn.functional.normalize(torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0)), dim=0)


def written(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_predictions_are_saved_as_the_dataset_stores_its_targets(tmp_path):
    writer = PredictionWriter(made("classes"), tmp_path / "out", Shifted())
    writer.start(3, ("rgb", "depth"))
    writer.see({}, outputs("half/0", "half/1"))
    writer.start(1, ("rgb",))
    writer.see({}, outputs("half/2"))  # of further subsets nothing is written
    names = sorted(path.relative_to(tmp_path / "out") for path in tmp_path.rglob("*.png"))
    assert names == [Path("half/0.png"), Path("half/1.png")] and writer.count == 2
    found = written(tmp_path / "out/half/1.png")
    assert found.dtype == np.uint8 and np.array_equal(found, np.full((4, 6), 11))


def test_several_heads_have_folders_of_their_own(tmp_path):
    writer = PredictionWriter(made("both"), tmp_path, Shifted())
    writer.start(1, ("rgb",))
    writer.see({}, outputs("a/b", heads=("labels", "normal")))
    assert written(tmp_path / "labels/a/b.png").max() == 11
    stored = written(tmp_path / "normal/a/b.png")[..., ::-1].astype(float)
    levels = np.iinfo(written(tmp_path / "normal/a/b.png").dtype).max
    assert np.abs(2 * stored / levels - 1 - NORMALS.permute(1, 2, 0).numpy()).max() < 0.01
    assert writer.count == 2


def test_nothing_is_replaced_unasked(tmp_path):
    def write(value=1, **options):
        writer = PredictionWriter(made("classes"), tmp_path, Shifted(), **options)
        writer.start(1, ("rgb",))
        writer.see({}, outputs("a", value=value))

    write()
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(FileExistsError, match=r"a\.png is there already.*--overwrite"):
        write()
    assert (tmp_path / "a.png").read_bytes() == before
    write(2, overwrite=True)
    assert written(tmp_path / "a.png").max() == 12


def test_names_that_clash_or_lead_out(tmp_path):
    writer = PredictionWriter(made("classes"), tmp_path, Shifted())
    writer.start(3, ("rgb",))
    writer.see({}, outputs("a"))
    with pytest.raises(FileExistsError, match="two samples share this name"):
        writer.see({}, outputs("a", value=2))
    for name in ("../a", "/etc/a"):
        with pytest.raises(ValueError, match="leads out of"):
            writer.see({}, outputs(name))
