"""Checkpoints of AsymFusion's authors, and of their earlier CEN, as checkpoints of rgbx.

A file of theirs is ``torch.save({"segmenter": state_dict, "epoch_start": int, "best_val": float})``, its keys with
the prefix ``module.`` of DataParallel. Source: github.com/yikaiw/AsymFusion, main.py (arXiv 2108.05009). The networks
of github.com/yikaiw/CEN, semantic_segmentation (arXiv 2011.05005), have the same tensors under the same names, as
neither fusion has parameters: which one a file is of, only its owner knows.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgbx.backbones import cast, shown_keys
from rgbx.convert.asymfusion_keys import Architecture, authors_key, infer_architecture
from rgbx.convert.key_report import KeyReport
from rgbx.convert.slim import check_target
from rgbx.models import MultimodalModel, multimodal_segmentor
from rgbx.models.checkpoint import read_checkpoint, save_atomically, to_plain
from rgbx.models.recipe import refusing

Checkpoint = Mapping[str, Any]  # what a file of theirs holds
Weights = Mapping[str, Tensor]  # name: tensor of any shape
WEIGHTS = "segmenter"
FUSIONS = {"asymfusion": "asymmetric", "cen": "channel_exchange"}
STATISTICS = {
    "rgb": {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},  # 0..255
    "depth": {"mean": (0.0,), "std": (1.0,)},  # metres: the authors' raw values / 5000, as three equal channels
}
_COUNTER = ".num_batches_tracked"
_OF_RGBX = ("data_preprocessor.", "heads.labels.task.")  # buffers that state the recipe
# How NumPy's numbers are pickled. `best_val` is one; rebuilding it runs no code of the file.
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
    *((np.float64().__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def convert_asymfusion(
    source: str | Path,
    out: str | Path,
    *,
    modalities: Sequence[str] | None = None,
    num_classes: int | None = None,
    network: str = "asymfusion",
    trust: bool = False,
    overwrite: bool = False,
) -> tuple[MultimodalModel, KeyReport]:
    """Writes an rgbx checkpoint with the weights of an authors' checkpoint.

    Args:
        source: the authors' file.
        out: the file to write.
        modalities: see `asymfusion_model`.
        num_classes: see `asymfusion_model`.
        network: see `asymfusion_model`.
        trust: unpickle arbitrary objects of `source`; such a file can run any code.
        overwrite: replace `out` where it exists.

    Returns:
        The model that `out` holds, and what became of every tensor of `source`.

    Raises:
        FileExistsError: `out` exists, or is `source`.
        FileNotFoundError, ValueError: as `rgbx.models.checkpoint.read_checkpoint` and `asymfusion_model`.
    """
    source, out = Path(source), Path(out)
    check_target(source, out, overwrite=overwrite)
    with torch.serialization.safe_globals(_NUMPY_NUMBERS):
        state = read_checkpoint(source, trust=trust)
    model, report = asymfusion_model(
        state, str(source), modalities=modalities, num_classes=num_classes, network=network
    )
    converted = {"from": network, "file": source.name, **report.kept}
    content = {"meta": {"converted": converted}, "model": model.recipe, "state_dict": dict(model.state_dict())}
    save_atomically(to_plain(content), out)
    return model, report


def asymfusion_model(
    state: Checkpoint,
    source: str,
    *,
    modalities: Sequence[str] | None = None,
    num_classes: int | None = None,
    network: str = "asymfusion",
) -> tuple[MultimodalModel, KeyReport]:
    """The rgbx model with the weights of an authors' checkpoint.

    Args:
        state: the checkpoint, or its state dict alone; keys with or without the prefix ``module.``.
        source: its file, for messages.
        modalities: what is expected, in the order of the authors' inputs; by default rgb and depth for a network of
            two modalities.
        num_classes: what is expected; by default whatever there is.
        network: "asymfusion", or "cen", whose blocks all exchange channels.

    Raises:
        ValueError: the state is of another network, class count or modalities, or lacks tensors, which are named.
    """
    with refusing(source, "it cannot be converted"):
        originals, weights = _weights(state, source)
        found = infer_architecture(weights, source)
        if num_classes not in (None, found.num_classes):
            raise ValueError(f"{source} is a network of {found.num_classes} classes; expected {num_classes}")
        names = _check_modalities(modalities, found, source)
        with torch.device("meta"):  # nothing is allocated before all fits
            own = _build(names, found, network).state_dict()
        sources = {key: authors_key(key, names) for key in own if not key.startswith(_OF_RGBX)}
        values = _values(own, sources, weights, names, source)
        model = _build(names, found, network)
        model.load_state_dict({**model.state_dict(), **values})
        return model, _report(state, originals, sources)


def _build(modalities: Sequence[str], found: Architecture, network: str) -> MultimodalModel:
    return multimodal_segmentor(
        modalities=modalities,
        num_classes=found.num_classes,
        backbone=f"resnet{found.depth}",
        fusion={"name": FUSIONS[network]},
        decoder={"name": "refinenet", "width": found.width, "dropout": 0.5},
        norm_eval=True,
        pad_to_stride=False,
        statistics={name: STATISTICS[name] for name in modalities},
    )


def _weights(state: Checkpoint, source: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The file's own key of every tensor's name without ``module.``, and the tensors by that name."""
    given = state.get(WEIGHTS, state)
    if not isinstance(given, Mapping) or not given or not all(isinstance(x, Tensor) for x in given.values()):
        raise ValueError(f"{source} has no {WEIGHTS!r} of tensors; it holds {shown_keys(state)}")
    originals = {key.removeprefix("module."): key for key in given}
    if len(originals) < len(given):
        raise ValueError(f"{source} holds some tensors twice, with and without the prefix 'module.'")
    return originals, {name: given[key] for name, key in originals.items()}


def _check_modalities(expected: Sequence[str] | None, found: Architecture, source: str) -> tuple[str, ...]:
    count = found.num_modalities
    if expected is None:
        if count == 1:
            raise ValueError(f"{source} is a network of 1 modality; say which: --modalities rgb, or depth")
        expected = tuple(STATISTICS)
    if len(expected) != count:
        raise ValueError(
            f"{source} is a network of {count} modalities; expected {len(expected)}: {', '.join(expected)}"
        )
    unknown = [name for name in expected if name not in STATISTICS]
    if unknown:
        raise ValueError(f"modalities are {list(expected)}; the authors' networks take {', '.join(STATISTICS)}")
    return tuple(expected)


def _values(
    own: Weights, sources: Mapping[str, str], weights: Weights, modalities: Sequence[str], source: str
) -> dict[str, Tensor]:
    """The model's tensors of the file, once all are there in the right shape."""
    missing = {name for name in sources.values() if name not in weights and not name.endswith(_COUNTER)}
    if missing:
        raise ValueError(f"{source} lacks {len(missing)} tensors: {', '.join(sorted(missing))}")
    values = {key: _value(key, name, weights, modalities) for key, name in sources.items() if name in weights}
    differing = [
        f"{sources[key]} is {list(x.shape)}, expected {list(own[key].shape)}"
        for key, x in values.items()
        if x.shape != own[key].shape
    ]
    if differing:
        raise ValueError(f"{source} has {len(differing)} tensors of another shape: {'; '.join(differing[:5])}")
    return cast(values, own, source)


def _value(key: str, name: str, weights: Weights, modalities: Sequence[str]) -> Tensor:
    if name != "alpha":
        return weights[name]
    return weights[name][modalities.index(key.rpartition(".")[2])]  # one vector there, one scalar each here


def _report(state: Checkpoint, originals: Mapping[str, str], sources: Mapping[str, str]) -> KeyReport:
    targets: dict[str, list[str]] = {}
    for key, name in sources.items():
        targets.setdefault(name, []).append(key)
    entries = {str(key): value for key, value in state.items() if WEIGHTS in state and key != WEIGHTS}
    kept = {key: float(value) for key, value in entries.items() if isinstance(value, numbers.Real)}
    return KeyReport(
        used={originals[name]: tuple(targets[name]) for name in originals if name in targets},
        unused=tuple(originals[name] for name in originals if name not in targets),
        absent=tuple(name for name in targets if name not in originals),
        kept=kept,
        dropped=tuple(key for key in entries if key not in kept),
    )
