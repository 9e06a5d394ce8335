"""The best, median and worst frame: which they are, and their pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate

from rgbx.evaluate.pictures import IGNORED, colour_input, colour_labels
from rgbx.evaluate.result_reading import ENSEMBLE

WRONG = (214, 62, 31)
LONGEST_SIDE = 1024


class Frame(NamedTuple):
    """One frame of a result: `kind` is "best", "median" or "worst"; `mIoU` a fraction of 1."""

    sample_id: str
    kind: str
    mIoU: float  # noqa: N815  # the name of the score everywhere


def choose_frames(images: Sequence[Mapping[str, Any]]) -> list[Frame]:
    """Best, median and worst by mIoU of the single image; of two images best and worst, of one that one.

    Images without a score (no labelled pixel) are left out, ties are decided by the order of evaluation.
    """
    scored = [image for image in images if image["mIoU"] is not None and not np.isnan(image["mIoU"])]
    ranked = sorted(scored, key=lambda image: -image["mIoU"])
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    chosen: dict[int, Frame] = {}
    for kind in ("best", "worst", "median"):  # with few images the median gives way
        if ranked and places[kind] not in chosen:
            image = ranked[places[kind]]
            chosen[places[kind]] = Frame(image["sample_id"], kind, image["mIoU"])
    return [chosen[place] for place in sorted(chosen)]


def draw_error(label: np.ndarray, prediction: np.ndarray, background: np.ndarray, *, ignore_index: int) -> np.ndarray:
    """Where a prediction is wrong, as uint8 RGB [H, W, 3]: wrong pixels red, right ones a pale copy of the input.

    Pixels that are not labelled are grey.

    Args:
        label: class ids [H, W].
        prediction: class ids [H, W].
        background: uint8 RGB [H, W, 3].
        ignore_index: the id that is not scored.
    """
    light = background.astype(float).mean(-1, keepdims=True)
    pale = np.broadcast_to(196 + light * 0.22, background.shape)
    red = np.asarray(WRONG, float) * (0.78 + light * 0.22 / 255)
    picture = np.where((label != prediction)[..., None], red, pale)
    picture[label == ignore_index] = IGNORED
    return picture.round().clip(0, 255).astype(np.uint8)


def draw_frame(
    sample: Mapping[str, Any], predictions: Mapping[str, np.ndarray], metainfo: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """All pictures of one frame, uint8 RGB [H, W, 3], under the names that result files use.

    Args:
        sample: packed arrays: the modalities [C, H, W], their `..._valid` masks, and `label` [H, W].
        predictions: branch -> class ids [H, W]; "ensemble" is the one whose errors are drawn.
        metainfo: the dataset's, for modalities, palette and ignore_index.
    """
    ignore_index = metainfo.get("ignore_index", 255)
    inputs = {
        name: colour_input(name, sample[name], sample.get(f"{name}_valid"))
        for name in metainfo["modalities"]
        if name in sample
    }
    label = np.asarray(sample["label"])
    background = next(iter(inputs.values()))
    if background.shape[:2] != label.shape:
        background = np.full((*label.shape, 3), 128, np.uint8)
    branches = [name for name in predictions if name != ENSEMBLE] + [ENSEMBLE]
    maps = {"label": label, **{f"prediction/{name}": np.asarray(predictions[name]) for name in branches}}
    return {
        **inputs,
        **{name: colour_labels(ids, metainfo["palette"], ignore_index=ignore_index) for name, ids in maps.items()},
        "error": draw_error(label, maps[f"prediction/{ENSEMBLE}"], background, ignore_index=ignore_index),
    }


def write_frame(frame: Frame, pictures: Mapping[str, np.ndarray], folder: str | Path) -> dict[str, Any]:
    """Writes the pictures of one frame as PNGs below `folder` and returns the entry for the result file.

    Pictures whose longer side has more than 1024 pixels are thinned to every second, third, ... pixel.

    Args:
        frame: which one it is.
        pictures: as `draw_frame` gives them.
        folder: where results.json will lie; the files go into its `pictures/`.
    """
    stem = f"{frame.kind}_{re.sub(r'[^A-Za-z0-9._-]+', '_', frame.sample_id)}"
    files = {}
    for name, picture in pictures.items():
        path = Path("pictures", f"{stem}_{name.replace('/', '_')}.png")
        step = -(-max(picture.shape[:2]) // LONGEST_SIDE)
        Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(picture[::step, ::step])).save(Path(folder, path), optimize=True)
        files[name] = path.as_posix()
    return {**frame._asdict(), "files": files}


def write_frames(
    images: Sequence[Mapping[str, Any]],
    dataset: Any,
    predict: Callable[[dict[str, Any]], Sequence[Mapping[str, Any]]],
    folder: str | Path,
) -> list[dict[str, Any]]:
    """Predicts the best, median and worst frame once more and writes their pictures.

    Args:
        images: of the result, in the order of evaluation.
        dataset: as it was evaluated: of packed samples, with `metainfo`.
        predict: from a collated batch of one sample to `[{"prediction": {branch: ids [H, W]}}]`.
        folder: where results.json will lie.

    Returns:
        The `pictures` of the result file.

    Raises:
        ValueError: a sample of the result is not in the dataset.
    """
    entries = []
    places = {image["sample_id"]: place for place, image in enumerate(images)}
    for frame in choose_frames(images):
        sample = _find(dataset, frame.sample_id, places[frame.sample_id])
        (output,) = predict(default_collate([sample]))
        arrays = {key: value.numpy() for key, value in sample.items() if isinstance(value, torch.Tensor)}
        predictions = {name: ids.cpu().numpy() for name, ids in output["prediction"].items()}
        entries.append(write_frame(frame, draw_frame(arrays, predictions, dataset.metainfo), folder))
    return entries


def _find(dataset: Any, sample_id: str, likely: int) -> dict[str, Any]:
    """The sample of that id: at its likely index, or wherever it is."""
    first = range(likely, min(likely + 1, len(dataset)))
    for index in [*first, *range(len(dataset))]:
        if (sample := dataset[index])["sample_id"] == sample_id:
            return sample
    raise ValueError(f"sample {sample_id!r} of the result is not in the dataset")
