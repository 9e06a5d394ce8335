import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import small
from tiny import Halves, tiny_segmentor
from torch.utils.data import DataLoader

from rgbx.datasets import EveryKth, FolderDataset
from rgbx.datasets.class_weights import count_labels, read_alone
from rgbx.models import multimodal_translator
from rgbx.train.data_check import (
    MOST_FRAMES,
    check_classes,
    check_damage,
    check_labels,
    check_maps,
    check_measured,
    check_norms,
    check_sizes,
    look_at,
)
from rgbx.transforms import PackSample


def model(modalities=("rgb",), target="depth", **ranges):
    ranges = {name: {"low": low, "high": high} for name, (low, high) in ranges.items()}
    options = dict(generator=dict(name="unet", width=4, depth=3), discriminator=None, ranges=ranges)
    return multimodal_translator(modalities=modalities, target=target, **options)


def samples(**maps):
    return [{"sample_id": "a", "rgb": torch.zeros(3, 2, 2), **maps}]


def test_a_map_that_the_dataset_does_not_give_is_named():
    dataset = samples(depth=torch.ones(1, 2, 2))
    assert check_maps(model(), dataset) == []
    with pytest.raises(ValueError, match=r"the model takes 'dpth', but list .*rgb, depth; did you mean 'depth'\?"):
        check_maps(model(("rgb", "dpth"), dpth=(0, 1)), dataset)
    with pytest.raises(ValueError, match="the model takes 'normal', but"):
        check_maps(model(("depth",), target="normal"), dataset)
    with pytest.raises(ValueError, match="the model takes 'label', but"):
        check_maps(tiny_segmentor(("rgb", "depth"), 3), dataset)


def test_gates_are_told_of_damage_and_truth_is_left_whole():
    gated = small("classes", purification="cross")
    damaged = {"depth_corrupted": torch.zeros(1, 2, 2, dtype=torch.bool)}
    with pytest.raises(
        ValueError, match=r"no training sample has rgb_corrupted or depth_corrupted: put dict\(type=Dam"
    ):
        check_damage(gated, samples())
    check_damage(gated, samples(**damaged))
    check_damage(small("classes", purification={"supervision": "literal"}), samples())
    check_damage(small("classes"), samples())
    with pytest.raises(ValueError, match=r"head 'depth' predicts 'depth', whose truth the training transforms damage"):
        check_damage(model(), samples(**damaged))


def test_class_counts_must_agree():
    check_classes(tiny_segmentor(("rgb",), 3), Halves())
    check_classes(model(), Halves())
    with pytest.raises(ValueError, match=r"num_classes=4 \(head 'labels'\), but Halves has 3 classes"):
        check_classes(tiny_segmentor(("rgb",), 4), Halves())


def test_a_changed_declaration_asks_for_another_plan():
    samples = Path(__file__).parents[2] / "data/samples"
    for dataset in (FolderDataset(samples, "test"), EveryKth(FolderDataset(samples, "test"), every=2)):
        with pytest.raises(ValueError, match=r"init \S+/data/samples --overwrite`, which keeps that file, plans anew"):
            check_classes(tiny_segmentor(("rgb",), 4), dataset)


def test_values_outside_the_range_are_told():
    depth = torch.linspace(0, 20, 101).view(1, 1, 101)
    (warning,) = check_maps(model(depth=(0, 10)), samples(depth=depth))
    assert warning.startswith("50 % of depth in the first sample lies outside 0..10, from 0 to 20")
    assert check_maps(model(depth=(0, 19)), samples(depth=depth)) == []  # a twentieth


def test_only_what_was_measured_counts():
    depth = torch.tensor([[[0.0, 0.0, 5.0, 30.0]]])
    valid = torch.tensor([[[False, False, True, True]]])
    (warning,) = check_maps(model(depth=(1, 10)), samples(depth=depth, depth_valid=valid))
    assert warning.startswith("50 %")
    struck = torch.tensor([[[False, False, False, True]]])
    assert check_maps(model(depth=(1, 10)), samples(depth=depth, depth_valid=valid, depth_corrupted=struck)) == []
    (warning,) = check_maps(model(depth=(1, 10)), samples(depth=depth, depth_corrupted=struck))
    assert warning.startswith("67 %")
    nothing = samples(depth=depth, depth_valid=torch.zeros_like(valid))
    assert check_maps(model(depth=(1, 10)), nothing) == []


class Visited:
    def __init__(self, length):
        self.length, self.visits = length, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.visits.append(index)
        return {"sample_id": str(index)}


@pytest.mark.parametrize("length", [1, 5, MOST_FRAMES, 1000])
def test_frames_of_all_parts_are_looked_at(length):
    dataset = Visited(length)
    assert len(look_at(dataset)) == min(length, MOST_FRAMES)
    assert dataset.visits[0] == 0 and dataset.visits[-1] >= length * (1 - 1 / MOST_FRAMES) - 1
    assert dataset.visits == sorted(set(dataset.visits))


def test_no_more_than_there_is_time_for(monkeypatch):
    monkeypatch.setattr("rgbx.train.data_check.PATIENCE", -1.0)
    assert len(look_at(Visited(1000))) == 1


def of_sizes(*sizes):
    return [{"sample_id": f"f{i}", "rgb": torch.zeros(3, *size)} for i, size in enumerate(sizes)]


def test_frames_of_several_sizes_need_batches_of_one():
    mixed = of_sizes((4, 6), (4, 6), (5, 6))
    with pytest.raises(
        ValueError, match=r"val_dataloader has batch_size=2, .*'f0' and 'f2' is 4×6 and 5×6: .*batch_size=1"
    ):
        check_sizes(DataLoader(mixed, batch_size=2), mixed, "val_dataloader")
    check_sizes(DataLoader(mixed, batch_size=1), mixed, "val_dataloader")
    check_sizes(DataLoader(mixed[:2], batch_size=2), mixed[:2], "val_dataloader")


def labelled(*labels):
    return [{"sample_id": f"f{i}", "label": torch.tensor([label])} for i, label in enumerate(labels)]


def test_labels_without_a_class_are_refused_and_absent_classes_told():
    network = tiny_segmentor(("rgb",), 3)
    void = labelled([255, 255], [255, 255])
    message = r"nothing to learn: in the {} training samples.* class of 0\.\.2, they hold \[255\]"
    with pytest.raises(ValueError, match=message.format(2)):
        check_labels(network, void, void)
    (warning,) = check_labels(network, void * 9, void)
    assert re.search(message.format("2 of 18"), warning)
    some = labelled([0, 255], [2, 0])
    assert check_labels(network, some, some) == ["1 of 3 classes have no pixel in the 2 training samples: 1"]
    (warning,) = check_labels(network, some * 9, some)
    assert warning == "1 of 3 classes have no pixel in the 2 of 18 training samples looked at: 1"
    every = labelled([0, 1], [2, 255])
    assert check_labels(network, every, every) == []


class Scenes(Halves):
    """Frames whose labels are void but where `shown` has the frame: classes; depth is measured in those as well."""

    def __init__(self, shown, length=40, **options):
        super().__init__(length=length, **options)
        self.shown, self.opened = shown, []

    def read(self, index):
        self.opened.append(index)
        sample = super().read(index)
        classes = self.shown.get(index, ())
        sample["label"] = np.full(self.size, 255, np.uint8)
        sample["label"][0, : len(classes)] = classes
        if not classes:
            sample["depth"][:] = 0
        return sample


class Void(PackSample):
    """What a crop might do: nothing of the label is left, nothing of depth."""

    def __call__(self, sample, rng):
        sample["label"][:] = 255
        sample["depth"][:] = 0
        return super().__call__(sample, rng)


def scenes(shown):
    """A dataset whose samples, when they are trained on, show nothing, and those that were looked at."""
    dataset = Scenes(shown, transforms=[Void()])
    samples = look_at(dataset)
    dataset.opened.clear()
    return dataset, samples


def test_what_crops_hide_is_found_in_the_labels_as_they_are_read():
    network = tiny_segmentor(("rgb", "depth"), 3)
    assert check_labels(network, *scenes({39: (0, 1), 17: (2,)})) == []
    dataset, samples = scenes({39: (0,), 17: (2,)})
    assert check_labels(network, dataset, samples) == ["1 of 3 classes have no pixel in the 40 training samples: right"]
    assert sorted(dataset.opened) == list(range(40))
    with pytest.raises(ValueError, match="nothing to learn: in the 40 training samples no pixel of 'label'"):
        check_labels(network, *scenes({}))
    dataset, samples = scenes({5: (0, 1, 2)})
    with pytest.raises(ValueError, match="in the 20 training samples no pixel"):
        check_labels(network, EveryKth(dataset, 2), samples[:3])
    assert sorted(dataset.opened) == list(range(0, 40, 2))


def test_time_that_is_over_is_told(monkeypatch):
    """What was looked at by then lies all over the data."""
    dataset, samples = scenes({39: (0,)})
    clock = iter(range(100))
    monkeypatch.setattr("rgbx.train.data_check.time.monotonic", lambda: next(clock))
    (warning,) = check_labels(tiny_segmentor(("rgb", "depth"), 3), dataset, samples)
    assert "nothing to learn: in the 4 of 40 training samples looked at no pixel" in warning
    gaps = np.diff([0, *sorted(dataset.opened), 40])
    assert len(dataset.opened) == 4 and gaps.max() <= 20


def test_a_count_of_all_labels_that_is_there_is_taken(tmp_path):
    dataset, samples = scenes({39: (0,), 17: (2,)})
    count_labels(dataset, cache=tmp_path / "counts.json")
    dataset.opened.clear()
    (warning,) = check_labels(tiny_segmentor(("rgb", "depth"), 3), dataset, samples, cache=tmp_path / "counts.json")
    assert warning == "1 of 3 classes have no pixel in the 40 training samples: right" and not dataset.opened


def test_of_files_the_labels_alone_are_opened(monkeypatch):
    dataset = FolderDataset(Path(__file__).parents[2] / "data/samples", "test")
    opened, read = [], dataset.read_frame
    monkeypatch.setattr(dataset, "read_frame", lambda frame, names: opened.append(names) or read(frame, names))
    assert np.array_equal(read_alone(dataset, 1, "label")["label"], dataset.read(1)["label"])
    assert read_alone(dataset, 1, "depth")["depth"].shape == dataset.read(1)["depth"].shape
    assert read_alone(dataset, 1, "nothing") == {}
    assert [names for names in opened if len(names) == 1] == [["label"], ["depth"]]


def test_a_map_that_was_measured_nowhere_is_refused():
    network = model(("rgb",))
    with pytest.raises(ValueError, match=r"head 'depth' has nothing to learn: in the 40 training .* no value of 'dep"):
        check_measured(network, *scenes({}))
    assert check_measured(network, *scenes({31: (1,)})) == []
    empty = samples(depth=torch.full((1, 2, 2), torch.nan)) * 2
    with pytest.raises(ValueError, match="in the 2 training samples no value"):
        check_measured(network, empty, empty)
    (warning,) = check_measured(network, empty * 4, empty)
    assert "in the 2 of 8 training samples looked at no value of 'depth' was measured" in warning
    some = samples(depth=torch.ones(1, 2, 2), depth_valid=torch.zeros(1, 2, 2, dtype=torch.bool))
    some[0]["depth_valid"][0, 0, 0] = True
    assert check_measured(network, some, some) == []
    some[0]["depth_valid"][:] = False
    with pytest.raises(ValueError, match="in the 1 training samples no value"):
        check_measured(network, some, some)


@pytest.mark.parametrize(
    ("count", "batch_size", "drop_last", "size", "message"),
    [
        (3, 2, False, 32, "the last batch of an epoch has one sample of 32×32, of which stride 32 leaves one value"),
        (3, 1, False, 32, "a batch has one sample of 32×32"),
        (3, 2, True, 32, None),
        (4, 2, False, 32, None),
        (3, 2, False, 33, None),
    ],
)
def test_batch_norm_needs_more_than_one_value(count, batch_size, drop_last, size, message):
    network = small("classes")
    samples = of_sizes(*[(size, size)] * count)
    loader = DataLoader(samples, batch_size=batch_size, drop_last=drop_last)
    refused = pytest.raises(ValueError, match=message) if message else nullcontext()
    with refused:
        check_norms(network, loader, samples)
    check_norms(small("classes", norm_eval=True), loader, samples)


def test_a_decoder_of_averages_needs_two_samples():
    """Of any size, and also where the backbone's norms are frozen; not where all modalities share the norm."""
    samples = of_sizes(*[(64, 64)] * 3)
    loader = DataLoader(samples, batch_size=2)
    options = dict(norm_eval=True, head_decoder={"name": "upernet", "width": 32})
    with pytest.raises(ValueError, match="last batch of an epoch has one sample, and the decoder of head 'labels'"):
        check_norms(small("classes", **options), loader, samples)
    check_norms(small("classes", **options, norm="shared"), loader, samples)
    check_norms(small("classes", **options), DataLoader(samples, batch_size=2, drop_last=True), samples)
