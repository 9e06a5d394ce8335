"""RGB and its edges to depth on NYU Depth V2 at 320x240: fusion methods with 30 epochs each, three seeds.

    python tools/study.py configs/studies/translate_nyudv2_320x240_depth.py --data-root data/nyuv2_320x240 \\
        --dtype bfloat16 --jobs 3

The budget is that of depth and normals to RGB, in translate_nyudv2_320x240.py.
"""

config = "../nyudv2/translate_rgb_edge_depth_nyudv2_320x240.py"
seeds = (0, 1, 2)
modalities = ("rgb+edge", "rgb", "edge")
scores = ("MAE", "AbsRel", "delta1")
baseline = "no fusion"

budget = {
    "train_cfg.max_epochs": 30,
    "param_scheduler.0.begin": 15,
    "param_scheduler.0.end": 30,
    "default_hooks.checkpoint.interval": 5,
    "default_hooks.checkpoint.max_keep_ckpts": 1,
    "default_hooks.checkpoint.save_best": None,
}

methods = {
    "asymmetric": {"model.fusion": {"name": "asymmetric"}},
    "channel exchange": {"model.fusion": {"name": "channel_exchange"}},
    "concatenation": {"model.fusion": {"name": "early"}},
    "no fusion": {"model.fusion": None},
    "rgb alone": {"model.modalities": ("rgb",), "model.fusion": None},
    "edge alone": {"model.modalities": ("edge",), "model.fusion": None},
}
