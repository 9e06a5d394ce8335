"""Encoders and decoders on NYU Depth V2 at 160x120: which lie on the front of mIoU against latency and parameters.

The encoders whose complete ImageNet weights a package holds, with decoders of several widths and kinds; the budget is
that of nyudv2_160x120.py, whose `asymmetric` is "Lite0, light 128" here.

    rgbx prepare resized data/nyuv2_320x240 data/nyuv2_160x120 --size 120x160
    rgbx study configs/studies/nyudv2_160x120_sizes.py
"""

config = "../nyudv2/asymfusion_lite0_nyudv2_160x120_8e.py"
seeds = (0,)
modalities = ("rgb+depth", "rgb", "depth")
baseline = "Lite0, light 128"


def _network(number, width=128, name="light"):
    """EfficientNet-Lite of a number with a decoder."""
    return {
        "model.backbone": f"tf_efficientnet_lite{number}",
        "model.pretrained": f"lite{number}",
        "model.decoder": {"name": name, "width": width, "dropout": 0.1},
    }


methods = {
    "Lite0, light 128": _network(0),
    "Lite0, light 64": _network(0, 64),
    "Lite2, light 128": _network(2),
    "Lite0, light 256": _network(0, 256),
    "Lite0, SegFormer's 256": _network(0, 256, "segformer"),
    "Lite1, light 128": _network(1),
}
