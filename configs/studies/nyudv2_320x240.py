"""The main fusion methods on NYU Depth V2 at 320x240, eight epochs from ImageNet weights, three seeds each.

    python tools/study.py configs/studies/nyudv2_320x240.py --cfg-options model.pretrained=timm

or with the path of a weight file instead of timm.
"""

config = "../nyudv2/asymfusion_r18_nyudv2_320x240_8e.py"
seeds = (0, 1, 2)
modalities = ("rgb+depth", "rgb", "depth")
baseline = "no fusion"

budget = {
    "train_cfg.max_epochs": 8,
    "model.modality_dropout": None,
    "default_hooks.checkpoint.max_keep_ckpts": 1,
}

methods = {
    "asymmetric": {"model.fusion": {"name": "asymmetric"}},
    "no fusion": {"model.fusion": None},
    "separate encoders": {"model.fusion": {"name": "asymmetric"}, "model.weights": "separate"},
    "addition, two-way": {"model.fusion": {"name": "addition"}},
    "shuffle only": {"model.fusion": {"name": "asymmetric", "shift": False}},
    "shift only": {"model.fusion": {"name": "asymmetric", "shuffle": False}},
}
