"""Depth and normals to RGB on NYU Depth V2 at 320x240: fusion methods with 30 epochs each, three seeds.

    python tools/study.py configs/studies/translate_nyudv2_320x240.py --data-root data/nyuv2_320x240 \\
        --dtype bfloat16 --jobs 3

For a large GPU: the generator of width 64, the last checkpoint tested. Every fifth epoch is kept, so that the study
can be stopped and continued; all methods are run with the first seed before any with the second.
"""

config = "../nyudv2/translate_depth_normal_rgb_nyudv2_320x240.py"
seeds = (0, 1, 2)
modalities = ("depth+normal", "depth", "normal")
scores = ("PSNR", "SSIM", "MAE")
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
    "depth alone": {"model.modalities": ("depth",), "model.fusion": None},
    "normal alone": {"model.modalities": ("normal",), "model.fusion": None},
}
