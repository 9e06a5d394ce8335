import math

import pytest
import torch
from scipy.ndimage import distance_transform_edt

from rgbx.metrics import boundary_counts, boundary_f_score


def regions(seed, shape=(3, 24, 31), classes=5):
    """Blocks of classes, the prediction moved by a few pixels and noisy, some pixels ignored."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, classes, (shape[0], 5, 6), generator=generator)
    label = blocks.repeat_interleave(6, 1).repeat_interleave(6, 2)[:, : shape[1], : shape[2]].contiguous()
    prediction = label.roll((1, 2), (1, 2))
    noisy = torch.rand(shape, generator=generator) < 0.02
    prediction[noisy] = torch.randint(0, classes, (int(noisy.sum()),), generator=generator)
    label[torch.rand(shape, generator=generator) < 0.03] = 255
    label[:, 9:12, 3:20] = 255
    return prediction, label


def edge_of(classes, void, k):
    """Boundary pixels of class k by the definition, one pixel at a time."""
    height, width = classes.shape
    classes, void = classes.tolist(), void.tolist()
    found = torch.zeros(height, width, dtype=torch.bool)
    for i in range(height):
        for j in range(width):
            if void[i][j] or classes[i][j] != k:
                continue
            for y, x in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                inside = 0 <= y < height and 0 <= x < width
                if inside and not void[y][x] and classes[y][x] != k:
                    found[i, j] = True
    return found


def naive(prediction, label, num_classes, reach):
    """The same counts by a loop over pixels and scipy's exact Euclidean distance transform."""
    rows = []
    for k in range(num_classes):
        row = [0, 0, 0, 0]
        for p, t in zip(prediction, label, strict=True):
            void = t == 255
            edges = edge_of(p, void, k), edge_of(t, void, k)
            for side, (own, other) in enumerate((edges, edges[::-1])):
                row[2 * side + 1] += int(own.sum())
                if other.any():
                    distance = torch.from_numpy(distance_transform_edt(~other.numpy()))
                    row[2 * side] += int((own & (distance <= reach)).sum())
        rows.append(row)
    return rows


@pytest.mark.parametrize(("tolerance", "reach"), [(0.0, 0), (0.0075, 1), (0.05, 2), (0.11, 5)])
def test_equals_a_distance_transform(tolerance, reach):
    prediction, label = regions(seed=reach)
    assert math.ceil(tolerance * math.hypot(24, 31)) == reach
    counts = boundary_counts(prediction.to(torch.uint8), label, 5, tolerance=tolerance)
    assert counts.dtype == torch.int64
    assert counts.tolist() == naive(prediction, label, 5, reach)


def test_tolerance_is_a_share_of_the_diagonal():
    """0.75 % of 320×240 are exactly 3 pixels: an edge moved by 3 is found, one moved by 4 is not."""
    label = torch.zeros(240, 320, dtype=torch.uint8)
    label[:, 100:] = 1
    near, far = (label.roll(shift, 1) for shift in (3, 4))
    for moved in (near, far):
        moved[:, :50] = 0
    assert boundary_f_score(boundary_counts(near, label, 2)) == 1.0
    assert boundary_f_score(boundary_counts(far, label, 2)) == 0.0


def test_counts_add_up():
    prediction, label = regions(seed=9)
    single = sum(boundary_counts(p, t, 5) for p, t in zip(prediction, label, strict=True))
    assert torch.equal(boundary_counts(prediction, label, 5), single)


def test_what_is_ignored_does_not_matter():
    prediction, label = regions(seed=4)
    changed = torch.where(label == 255, 3, prediction)
    assert torch.equal(boundary_counts(prediction, label, 5), boundary_counts(changed, label, 5))


def test_large_searches_are_split(monkeypatch):
    prediction, label = regions(seed=5)
    whole = boundary_counts(prediction, label, 5, tolerance=0.1)
    monkeypatch.setattr("rgbx.metrics.boundary.MOST_LOOKUPS", 100)
    assert torch.equal(boundary_counts(prediction, label, 5, tolerance=0.1), whole)


def test_score_by_hand():
    # precision 3/4 and recall 1/2; only predicted; only true; in neither
    counts = torch.tensor([[3, 4, 2, 4], [0, 5, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0]])
    assert boundary_f_score(counts) == pytest.approx((2 * 0.75 * 0.5 / 1.25) / 3, abs=1e-12)
    assert math.isnan(boundary_f_score(torch.zeros(2, 4)))


@pytest.mark.parametrize(
    ("prediction", "label", "options", "message"),
    [
        (torch.zeros(4).long(), torch.zeros(4).long(), {}, r"\[H, W\] or \[N, H, W\], found \(4,\)"),
        (torch.zeros(4, 4).long(), torch.zeros(4, 5).long(), {}, "one shape"),
        (torch.zeros(4, 4), torch.zeros(4, 4).long(), {}, "integer class ids"),
        (torch.eye(4).long() * 7, torch.zeros(4, 4).long(), {}, "prediction holds class id 7"),
        (torch.zeros(4, 4).long(), torch.eye(4).long() * 7, {}, "label holds class id 7"),
        (torch.zeros(4, 4).long(), torch.zeros(4, 4).long(), {"tolerance": -1.0}, "tolerance is -1.0"),
    ],
)
def test_mistakes_are_named(prediction, label, options, message):
    with pytest.raises(ValueError, match=message):
        boundary_counts(prediction, label, 2, **options)


def test_scores_refuse_other_shapes():
    with pytest.raises(ValueError, match=r"\[K, 4\], found \(4, 2\)"):
        boundary_f_score(torch.zeros(4, 2))
