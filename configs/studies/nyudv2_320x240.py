"""Fusion methods on NYU Depth V2 at 320x240, eight epochs from ImageNet weights.

The main six with three seeds, the others once.

    python tools/study.py configs/studies/nyudv2_320x240.py --data-root data/nyuv2_320x240 \\
        --cfg-options model.pretrained=timm

or with the path of a weight file instead of timm. With modality dropout, as in the config, so that one checkpoint is
tested on both modalities and on each alone.
"""

config = "../nyudv2/asymfusion_r18_nyudv2_320x240_8e.py"
seeds = (0, 1, 2)
modalities = ("rgb+depth", "rgb", "depth")
baseline = "no fusion"

budget = {
    "default_hooks.checkpoint.max_keep_ckpts": 1,
}

methods = {
    "asymmetric": {"model.fusion": {"name": "asymmetric"}},
    "no fusion": {"model.fusion": None},
    "separate encoders": {"model.fusion": {"name": "asymmetric"}, "model.weights": "separate"},
    "addition, two-way": {"model.fusion": {"name": "addition"}},
    "shuffle only": {"model.fusion": {"name": "asymmetric", "shift": False}},
    "shift only": {"model.fusion": {"name": "asymmetric", "shuffle": False}},
    "addition, one-way (FuseNet)": {"model.fusion": {"name": "addition", "receivers": ("rgb",), "predict_from": "rgb"}},
    "early": {"model.fusion": {"name": "early"}},
    "late": {"model.fusion": {"name": "late"}},
    "squeeze-excite": {"model.fusion": {"name": "squeeze_excite"}},
    "channel exchange": {"model.fusion": {"name": "channel_exchange"}},
    "token exchange": {"model.fusion": {"name": "token_exchange"}},
    "rectification": {"model.fusion": {"name": "rectification"}},
    "rgb alone": {"model.modalities": ("rgb",), "model.fusion": None, "model.modality_dropout": None},
    "depth alone": {"model.modalities": ("depth",), "model.fusion": None, "model.modality_dropout": None},
}

_once = list(methods)[6:]
method_seeds = dict.fromkeys(_once, (0,))
