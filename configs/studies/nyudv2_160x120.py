"""Fusion methods and norms on all frames of NYU Depth V2 at 160x120, eight epochs from complete ImageNet weights.

EfficientNet-Lite0, ten minutes of a CPU core a run. The first eight with three seeds, the others once. Channel
exchange acts inside ResNets alone: see nyudv2_160x120_r18.py.

    rgbx prepare resized data/nyuv2_320x240 data/nyuv2_160x120 --size 120x160
    rgbx study configs/studies/nyudv2_160x120.py

With modality dropout, as in the config, so that one checkpoint is tested on both modalities and on each alone.
"""

config = "../nyudv2/asymfusion_lite0_nyudv2_160x120_8e.py"
seeds = (0, 1, 2)
modalities = ("rgb+depth", "rgb", "depth")
baseline = "no fusion"


def _asymmetric(**fields):
    """Asymmetric fusion with other fields than its defaults."""
    return {"model.fusion": {"name": "asymmetric", **fields}}


methods = {
    "asymmetric": _asymmetric(),
    "no fusion": {"model.fusion": None},
    "separate encoders": {**_asymmetric(), "model.weights": "separate"},
    "addition, two-way": {"model.fusion": {"name": "addition"}},
    "shuffle only": _asymmetric(shift=False),
    "shift only": _asymmetric(shuffle=False),
    "private affine over shared statistics": {**_asymmetric(), "model.norm": "affine"},
    "shared norms": {**_asymmetric(), "model.norm": "shared"},
    "one-way, depth to rgb": _asymmetric(receivers=("rgb",)),
    "one-way, rgb to depth": _asymmetric(receivers=("depth",)),
    "squeeze-excite": {"model.fusion": {"name": "squeeze_excite"}},
    "rectification": {"model.fusion": {"name": "rectification"}},
    "token exchange": {"model.fusion": {"name": "token_exchange"}},
    "early": {"model.fusion": {"name": "early"}},
    "late": {"model.fusion": {"name": "late"}},
    "rgb alone": {"model.modalities": ("rgb",), "model.fusion": None, "model.modality_dropout": None},
    "depth alone": {"model.modalities": ("depth",), "model.fusion": None, "model.modality_dropout": None},
}

_once = list(methods)[8:]
method_seeds = dict.fromkeys(_once, (0,))
