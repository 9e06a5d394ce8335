import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from rgbx.metrics import confusion_matrix
from rgbx.metrics.confusion import _count_any


def naive(prediction, label, num_classes, ignore_index):
    counts = [[0] * num_classes for _ in range(num_classes)]
    for p, t in zip(prediction.flatten().tolist(), label.flatten().tolist(), strict=True):
        if t != ignore_index:
            counts[t][p] += 1
    return counts


@pytest.mark.parametrize("num_classes", [1, 2, 7])
@pytest.mark.parametrize("ignore_index", [255, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_equals_a_double_loop(num_classes, ignore_index, dtype):
    generator = torch.Generator().manual_seed(num_classes)
    shape = (2, 9, 11)
    prediction = torch.randint(0, num_classes, shape, generator=generator).to(dtype)
    label = torch.randint(0, num_classes, shape, generator=generator).to(dtype)
    label[torch.rand(shape, generator=generator) < 0.2] = ignore_index
    counts = confusion_matrix(prediction, label, num_classes, ignore_index=ignore_index)
    assert counts.dtype == torch.int64
    assert counts.tolist() == naive(prediction, label, num_classes, ignore_index)


def test_counts_add_up_exactly():
    prediction = torch.zeros(4097, 4097, dtype=torch.uint8)  # more than float32 can count
    assert confusion_matrix(prediction, prediction, 2)[0, 0] == 4097**2


def test_predictions_on_ignored_pixels_do_not_matter():
    counts = confusion_matrix(torch.tensor([200, 1]), torch.tensor([255, 1]), 2)
    assert counts.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        ([0, 2], [0, 1], r"prediction holds class id 2, expected 0\.\.1"),
        ([0, 1], [0, 7], r"label holds class id 7, expected 0\.\.1"),
        ([0, 1], [0, -1], r"label holds class id -1"),
        ([0, 1], [0], r"one shape, found \(2,\) and \(1,\)"),
        ([0.0, 1.0], [0, 1], "integer class ids, found dtype torch.float32"),
    ],
)
def test_mistakes_are_named(prediction, label, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(torch.tensor(prediction), torch.tensor(label), 2)


DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("num_classes", "ignore_index"), [(40, 255), (40, -100), (300, 1000), (256, -1)])
def test_equals_torchmetrics(device, num_classes, ignore_index):
    generator = torch.Generator().manual_seed(num_classes)
    prediction = torch.randint(0, num_classes, (2, 60, 81), generator=generator)
    label = torch.where(torch.rand(2, 60, 81, generator=generator) < 0.7, prediction, prediction.flip(2))
    label[:, :7] = ignore_index
    expected = multiclass_confusion_matrix(prediction, label, num_classes, ignore_index=ignore_index)
    counts = confusion_matrix(prediction.to(device), label, num_classes, ignore_index=ignore_index)
    assert counts.device.type == device
    assert torch.equal(counts.cpu(), expected)


@pytest.mark.parametrize("seed", range(5))
def test_both_ways_of_counting_agree(seed):
    """The one for bytes on a CPU and the one for everything else, which a GPU takes, also on wrong ids."""
    generator = torch.Generator().manual_seed(seed)
    prediction, label = torch.randint(0, 256, (2, 500), generator=generator).to(torch.uint8)
    label = torch.where(label > 200, 255, label)
    counts, expected = _count_any(prediction, label, 200, 255)
    wanted = naive(prediction, label, 256, 255)
    assert counts.tolist() == [row[:200] for row in wanted[:200]]
    assert expected == (label != 255).sum()


def test_mixed_dtypes_and_strides():
    label = torch.arange(12, dtype=torch.int64).reshape(3, 4) % 3
    prediction = label.T.contiguous().to(torch.uint8).T
    assert confusion_matrix(prediction, label, 3).tolist() == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]


@pytest.mark.parametrize("wrong", [300, -7, 2**40])
def test_ids_beyond_a_byte_are_named(wrong):
    good = torch.zeros(4, dtype=torch.int64)
    bad = torch.tensor([0, wrong, 0, 0])
    with pytest.raises(ValueError, match=rf"prediction holds class id {wrong}, expected 0\.\.4"):
        confusion_matrix(bad, good, 5)
    with pytest.raises(ValueError, match=rf"label holds class id {wrong}, expected 0\.\.4 \(ignore_index is 255\)"):
        confusion_matrix(good, bad, 5)


def test_an_ignored_id_does_not_wrap_around():
    label = torch.tensor([156, 1], dtype=torch.uint8)  # 156 is -100 in a signed byte
    with pytest.raises(ValueError, match="label holds class id 156"):
        confusion_matrix(torch.tensor([0, 1]), label, 2, ignore_index=-100)


def test_nothing_to_count():
    empty = torch.zeros(0, 4, dtype=torch.uint8)
    assert confusion_matrix(empty, empty, 2).tolist() == [[0, 0], [0, 0]]
    ignored = torch.full((3,), 255)
    assert confusion_matrix(torch.zeros(3).long(), ignored, 2).tolist() == [[0, 0], [0, 0]]


def test_arguments_are_left_alone():
    prediction, label = torch.tensor([0, 1, 1]), torch.tensor([1, 255, 1])
    confusion_matrix(prediction, label, 300)
    confusion_matrix(prediction, label, 2)
    assert (prediction.tolist(), label.tolist()) == ([0, 1, 1], [1, 255, 1])
