"""Fusion methods side by side on synthetic rooms of 60x80, three seeds each, four epochs.

    python tools/render_rooms.py data/rooms_60x80 --size 60x80
    python tools/study.py configs/studies/rooms.py --data-root data/rooms_60x80 --jobs 2

Small frames, a small network and few steps, so that 81 runs end within an afternoon on two cores. All methods learn
from random weights and have the same number of steps.
"""

config = "../rooms/asymfusion_r18_rooms_160x120.py"
seeds = (0, 1, 2)
modalities = ("rgb+depth", "rgb", "depth")
baseline = "no fusion"

budget = {
    "train_cfg.max_epochs": 4,
    "train_cfg.val_interval": 4,
    "dataset.size": (60, 80),
    "model.backbone": "resnet10t",
    "model.modality_dropout": None,
    "default_hooks.checkpoint.max_keep_ckpts": 1,
}


def _asymmetric(**fields):
    """Asymmetric fusion with other fields than its defaults."""
    return {"model.fusion": {"name": "asymmetric", **fields}}


methods = {
    "asymmetric": _asymmetric(),
    # What the shared network and the private norms are worth.
    "no fusion": {"model.fusion": None},
    "separate encoders, no fusion": {"model.fusion": None, "model.weights": "separate"},
    "separate encoders, asymmetric": {**_asymmetric(), "model.weights": "separate"},
    "private affine over shared statistics": {**_asymmetric(), "model.norm": "affine"},
    "shared norms": {**_asymmetric(), "model.norm": "shared"},
    # The two operations, their directions and their reach.
    "shuffle only": _asymmetric(shift=False),
    "shift only": _asymmetric(shuffle=False),
    "one-way, depth to rgb": _asymmetric(receivers=("rgb",)),
    "one-way, rgb to depth": _asymmetric(receivers=("depth",)),
    "second shift reversed": _asymmetric(second_shift="reversed"),
    "fused stage 4": _asymmetric(stages=(4,)),
    "fused stages 3, 4": _asymmetric(stages=(3, 4)),
    "fused stages 2, 3, 4": _asymmetric(stages=(2, 3, 4)),
    "fused stage 1": _asymmetric(stages=(1,)),
    "fraction 1/10": _asymmetric(fraction=0.1),
    "fraction 2/5": _asymmetric(fraction=0.4),
    # Other methods.
    "addition, two-way": {"model.fusion": {"name": "addition"}},
    "addition, one-way (FuseNet)": {"model.fusion": {"name": "addition", "receivers": ("rgb",), "predict_from": "rgb"}},
    "early": {"model.fusion": {"name": "early"}},
    "late": {"model.fusion": {"name": "late"}},
    "squeeze-excite": {"model.fusion": {"name": "squeeze_excite"}},
    "channel exchange": {"model.fusion": {"name": "channel_exchange"}},
    "token exchange": {"model.fusion": {"name": "token_exchange"}},
    "rectification": {"model.fusion": {"name": "rectification"}},
    # One modality.
    "rgb alone": {"model.modalities": ("rgb",), "model.fusion": None},
    "depth alone": {"model.modalities": ("depth",), "model.fusion": None},
}
