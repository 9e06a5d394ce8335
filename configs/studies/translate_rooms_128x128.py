"""Depth and thermal to RGB on the synthetic rooms: fusion methods, and each input alone, on two cores.

The fused networks and the better single input with three seeds, the others once.

    python tools/render_rooms.py data/rooms_128x128_class --size 128x128 --paints class --train 1200
    python tools/study.py configs/studies/translate_rooms_128x128.py --jobs 2

L1 alone, so that what differs is what the networks are given and how they put it together.
"""

config = "../rooms/translate_depth_thermal_rgb_rooms_128x128.py"
seeds = (0, 1, 2)
modalities = ("depth+thermal", "depth", "thermal")
method_modalities = {"depth alone": ("depth",), "thermal alone": ("thermal",)}
baseline = "depth alone"
scores = ("MAE", "PSNR", "SSIM")

budget = {"model.discriminator": None, "train_cfg.val_interval": 14}

_once = ("no fusion", "channel exchange", "thermal alone")
method_seeds = dict.fromkeys(_once, (0,))

_thermal = {"low": 14.0, "high": 30.0}
methods = {
    "asymmetric": {"model.fusion": {"name": "asymmetric"}},
    "no fusion": {"model.fusion": None},
    "concatenation": {"model.fusion": {"name": "early"}},
    "channel exchange": {"model.fusion": {"name": "channel_exchange"}},
    "depth alone": {"model.modalities": ("depth",), "model.ranges": None, "model.fusion": None},
    "thermal alone": {"model.modalities": ("thermal",), "model.ranges": {"thermal": _thermal}, "model.fusion": None},
}
