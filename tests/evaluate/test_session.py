"""The one loop of evaluation: what it counts, for which heads and subsets, and who watches."""

import pytest
import torch
from session_data import Rooms, loader, made
from small_models import small

from rgbx.datasets import EveryKth, SyntheticRooms
from rgbx.evaluate.metric import Metrics, file_sizes, gather_images, headlines, metrics_of
from rgbx.evaluate.session import Session
from rgbx.metrics import confusion_matrix, scores
from rgbx.models import precision
from rgbx.models.precision import autocast_dtype
from rgbx.transforms import PackSample


class Watching:
    """Notes what an observer is told."""

    def __init__(self):
        self.seen = []

    def start(self, size, modalities):
        self.seen.append((size, modalities))

    def see(self, batch, outputs):
        self.seen.append([(output["sample_id"], list(output["heads"])) for output in outputs])


@pytest.mark.parametrize("kind", ["classes", "map", "both"])
def test_scores_equal_a_loop(kind):
    model, dataset = made(kind), Rooms()
    session = Session(model, loader(dataset))
    watching = Watching()
    for subset in (("rgb", "depth"), ("depth",)):
        found = session.evaluate(subset, [watching])
        counts, errors = torch.zeros(10, 10, dtype=torch.int64), []
        for index in range(len(dataset)):
            data = {key: value[None] for key, value in dataset[index].items() if isinstance(value, torch.Tensor)}
            heads = model.predict(data, modalities=subset)[0]["heads"]
            if "labels" in heads:
                counts += confusion_matrix(heads["labels"].prediction["ensemble"], data["label"][0], 10)
            if "normal" in heads:
                difference = (heads["normal"].prediction["ensemble"] - data["normal"][0]).abs()
                errors.append(difference[:, data.get("normal_valid", torch.ones(1, 1, 24, 32) > 0)[0, 0]])
        if "labels" in model.heads:
            assert found["labels"].scores("ensemble")["mIoU"] == pytest.approx(scores(counts)["mIoU"])
        if "normal" in model.heads:
            mean = float(torch.cat([x.flatten() for x in errors]).double().mean())
            assert found["normal"].scores("ensemble")["MAE"] == pytest.approx(mean, rel=1e-5)
        assert all(evaluation.names == ["ensemble", *subset] for evaluation in found.values())
    ids = [dataset[index]["sample_id"] for index in range(3)]
    batches = [[(name, list(model.heads)) for name in ids[:2]], [(ids[2], list(model.heads))]]
    assert watching.seen[1:3] == watching.seen[4:6] == batches
    assert watching.seen[0] == (3, ("rgb", "depth")) and watching.seen[3] == (3, ("depth",))
    assert list(session.evaluations) == ["rgb+depth", "depth"] and session.headline == ("rgb", "depth")
    assert session.speed["images_per_second"] > 0 and 0 < session.speed["metric_share"] < 1


def test_batches_and_precision_do_not_matter_to_counts():
    model = made("both")
    first, second = (Session(model, loader(Rooms(), size)).evaluate() for size in (1, 3))
    for head, evaluation in first.items():
        assert [image.sample_id for image in evaluation.images] == [image.sample_id for image in second[head].images]
        assert evaluation.fingerprint() == second[head].fingerprint()
    half = Session(model, loader(Rooms()), dtype=torch.bfloat16).evaluate()
    assert half["normal"].scores("ensemble")["MAE"] == pytest.approx(
        first["normal"].scores("ensemble")["MAE"], rel=0.02
    )


def test_a_protocol_is_for_its_heads():
    model = made("both")
    session = Session(model, loader(Rooms()), protocol="dformer-ms", metrics=Metrics(table=False, calibration=True))
    found = session.evaluate()
    assert list(found) == ["labels"] and found["labels"].absent == "zero"
    assert found["labels"].images[0].reliability[0].sum() == 24 * 32
    assert list(Session(model, loader(Rooms()), protocol="cen").evaluate()) == ["normal"]
    assert list(Session(model, loader(Rooms()), heads=["normal"]).evaluate()) == ["normal"]


def test_options_reach_the_heads_that_take_them():
    model = made("both")
    session = Session(model, loader(Rooms()), metrics=Metrics(boundary=True))
    found = session.evaluate()
    session.evaluate(("depth",))
    assert [score.name for score in found["labels"].table][-1] == "boundary_f"
    labels, normals = (table.splitlines() for table in session.reports().values())
    titles = ["both", "RGB branch", "depth branch", "depth alone"]
    assert labels[1].split("  ")[-4:] == titles  # headings of columns
    assert [line.split("  ")[0] for line in normals[2:]] == titles and normals[0].startswith("normal (unit_vector)")
    with pytest.raises(ValueError, match=r"no head of this model \(of task map\) has the option 'boundary'"):
        Session(made("map"), loader(Rooms()), metrics=Metrics(boundary=True))
    with pytest.raises(ValueError, match="'boundry'; did you mean 'boundary'"):
        Session(model, loader(Rooms()), metrics=Metrics(boundry=True))


def test_names_in_logs():
    model = made("both")
    found = metrics_of(Session(model, loader(Rooms())).evaluate())
    assert {"labels/mIoU", "labels/rgb/mIoU", "normal/angle_mean", "normal/depth/MAE"} <= set(found)
    assert set(metrics_of({"labels": Session(model, loader(Rooms())).evaluate()["labels"]})) >= {"mIoU", "rgb/mIoU"}
    assert {key: score.name for key, score in headlines(model.tasks).items()} == {
        "labels/mIoU": "mIoU",
        "normal/angle_mean": "angle_mean",
    }


def test_subsets_are_refused_before_an_evaluation():
    session = Session(made("both"), loader(EveryKth(Rooms(), 2)))
    session.check_subsets([("rgb",), ("rgb", "depth")])
    with pytest.raises(ValueError, match=r"modalities \['thermal'\] given; this model knows"):
        session.check_subsets([("thermal",)])
    lacking = Session(made("classes"), loader(Rooms(modalities=("rgb",), targets=())))
    with pytest.raises(ValueError, match=r"does not have the modalities \['depth'\]"):
        lacking.check_subsets([("rgb",), ("depth",)])
    assert session.whole_dataset is session.dataset.dataset
    with pytest.raises(ValueError, match="has no label to score against"):
        Session(made("classes"), loader(Unlabelled())).evaluate()


class Unlabelled(Rooms):
    def __getitem__(self, index):
        return {key: value for key, value in super().__getitem__(index).items() if key != "label"}


def test_what_counters_need_is_missed_before_an_evaluation(tmp_path):
    heads = dict(rgb=dict(task="map"))
    model = small(None, modalities=("depth", "normal"), heads=heads).eval()
    rooms = loader(Rooms(modalities=("depth", "normal", "rgb"), targets=("rgb",)))
    with pytest.raises(ValueError, match="fid needs 'weights'"):
        Session(model, rooms, metrics=Metrics(fid=dict(seed=1)))
    with pytest.raises(FileNotFoundError, match=r"inception\.pth"):
        Session(model, rooms, metrics=Metrics(fid=dict(weights=str(tmp_path / "inception.pth"))))


def test_frames_are_known_again_in_another_session(tmp_path):
    """By id and sizes of files where there are files, also moved ones; by id and truth where there are none."""
    model = made("classes")

    def frames(**options):
        session = Session(model, loader(SyntheticRooms(size=(24, 32), transforms=[PackSample()], **options)))
        session.evaluate()
        return session.frames()

    first, moved = (frames(num_frames=3, root=tmp_path / name) for name in "ab")
    assert first == moved and len(set(first)) == 3
    assert not set(first) & set(frames(num_frames=2, split="test", root=tmp_path / "a"))
    fresh = frames(num_frames=3)
    assert fresh[1:2] == frames(num_frames=2)[1:] and not set(fresh) & set(first)


def test_images_of_one_process_keep_their_order():
    class Image:
        def __init__(self, sample_id):
            self.sample_id = sample_id

    images = [Image("b"), Image("a"), Image("b")]
    assert gather_images(images, 3) == images


def test_sizes_of_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"123")
    batch = {"paths": {"rgb": [str(tmp_path / "a.png")], "depth": [str(tmp_path / "none.png")]}}
    assert file_sizes(batch, 0) == {"rgb": 3} and file_sizes({}, 0) == {}


def test_names_of_dtypes():
    assert autocast_dtype(None, "cpu") is None
    assert autocast_dtype("float16", "cuda") == torch.float16
    assert autocast_dtype("auto", "cpu") in (None, torch.bfloat16)
    with pytest.raises(ValueError, match="found 'half'"):
        autocast_dtype("half", "cpu")


@pytest.mark.parametrize(("name", "has", "machine", "told"), [
    ("bfloat16", False, "x86_64", True),
    ("bfloat16", True, "x86_64", False),
    ("bfloat16", False, "aarch64", False),
    ("auto", False, "x86_64", False),
    ("float16", False, "x86_64", False),
])  # fmt: skip
def test_a_precision_that_the_processor_lacks_is_told(name, has, machine, told, monkeypatch, recwarn):
    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device: has)
    monkeypatch.setattr(precision.platform, "machine", lambda: machine)
    autocast_dtype(name, "cpu")
    assert [str(w.message).partition(" (")[0] for w in recwarn] == ["bfloat16 on this CPU"] * told
