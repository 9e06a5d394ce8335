"""From a file in the authors' format to found scores beside published ones, against NumPy on the authors' network."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from authors_network import AuthorsNetwork
from PIL import Image

from rgbx.cli.reproduce import main
from rgbx.convert.published import PUBLISHED
from rgbx.maps.files import file_hash

SIDES, COUNT = (64, 96), 2


def drawn(shape, key):
    draw = torch.Generator().manual_seed(sum(map(ord, key)))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(7)
    if key.endswith(("running_var", "weight")) and ".bn_" in key:
        return 0.5 + torch.rand(shape, generator=draw)
    return torch.randn(shape, generator=draw) * (2 / max(1, int(np.prod(shape[1:])))) ** 0.5


@pytest.fixture
def nyudv2(tmp_path):
    root, rng = tmp_path / "nyudv2", np.random.default_rng(0)
    lines = []
    for i in range(COUNT):
        kinds = {
            "rgb": rng.integers(0, 256, (*SIDES, 3), dtype=np.uint8),
            "masks": np.where(rng.random(SIDES) < 0.1, 255, rng.integers(0, 40, SIDES)).astype(np.uint8),
            "depth": rng.integers(1, 40000, SIDES, dtype=np.uint16),
        }
        for kind, values in kinds.items():
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / kind / f"{i}.png")
        lines.append("\t".join(f"{kind}/{i}.png" for kind in kinds))
    for name in ("train.txt", "val.txt"):
        (root / name).write_text("\n".join(lines) + "\n")
    return root


def scores_of(network, root):
    """mIoU, mean and pixel accuracy in percent, as the authors compute them."""
    confusion = np.zeros((40, 40))
    for i in range(COUNT):
        rgb, label, depth = (np.asarray(Image.open(root / kind / f"{i}.png")) for kind in ("rgb", "masks", "depth"))
        rgb = (rgb / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        depth = np.repeat(depth[..., None] / 5000, 3, axis=2)
        inputs = [torch.from_numpy(x.transpose(2, 0, 1)[None]).float() for x in (rgb, depth)]
        with torch.no_grad():
            logits = network(inputs)[-1][0].numpy().transpose(1, 2, 0)
        found = cv2.resize(logits, SIDES[::-1], interpolation=cv2.INTER_CUBIC).argmax(axis=2)
        for truth, said in zip(label[label < 40], found[label < 40], strict=True):
            confusion[truth, said] += 1
    hits, true, said = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    union = true + said - hits
    return {
        "mIoU": 100 * np.mean(hits[union > 0] / union[union > 0]),
        "mAcc": 100 * np.mean(hits[true > 0] / true[true > 0]),
        "aAcc": 100 * hits.sum() / true.sum(),
    }


@pytest.mark.parametrize(("name", "threshold"), [("cen-r101-nyudv2", 0.02), ("asymfusion-r152-nyudv2", None)])
def test_found_beside_published(name, threshold, narrow_keys, nyudv2, tmp_path, monkeypatch, capsys):
    weights = {key: drawn(shape, key) for key, shape in narrow_keys.items()}
    file = tmp_path / "model-best.pth.tar"
    torch.save({"segmenter": {f"module.{key}": x for key, x in weights.items()}, "epoch_start": 1}, file)
    words = [name, "--weights", str(file), "--data-root", str(nyudv2)]
    words += ["--work-dir", str(tmp_path / "out")]
    assert main(words) == 2
    assert f"holds a resnet50; {name} is a resnet1" in capsys.readouterr().err
    published = dataclasses.replace(PUBLISHED[name], depth=50, sha256=file_hash(file))
    monkeypatch.setitem(PUBLISHED, name, published)
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "as expected" in printed and f"{COUNT} images, protocol asymfusion" in printed
    for score, value in scores_of(AuthorsNetwork(weights, threshold), nyudv2).items():
        if score in published.scores:
            (row,) = [line.split() for line in printed.splitlines() if line.startswith(f"{score} ")]
            assert float(row[1]) == pytest.approx(value, abs=0.01)
            assert row[2] == f"{published.scores[score]:.1f}"
    assert main([*words, "--sha256", "0" * 64]) == 2
    assert f"has the SHA-256 {published.sha256}, expected {'0' * 64}" in capsys.readouterr().err


def test_what_is_to_be_had(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in PUBLISHED)
    assert main(["cen-r152-nyudv2"]) == 0
    assert "mIoU 51.6, mAcc 64.4, aAcc 77.0" in (printed := capsys.readouterr().out)
    assert "--weights FILE" in printed and "drive.google.com" in printed
    assert main(["cen-r15-nyudv2"]) == 2
    assert "did you mean 'cen-r152-nyudv2'" in capsys.readouterr().err
