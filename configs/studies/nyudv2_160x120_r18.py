"""The methods of nyudv2_160x120.py that a ResNet-18 decides on, and channel exchange, which acts inside ResNets alone.

    rgbx prepare resized data/nyuv2_320x240 data/nyuv2_160x120 --size 120x160
    rgbx study configs/studies/nyudv2_160x120_r18.py --cfg-options model.pretrained=timm

or with the path of a weight file instead of timm. The budget is that of EfficientNet-Lite0.
"""

config = "../nyudv2/asymfusion_lite0_nyudv2_160x120_8e.py"
seeds = (0,)
modalities = ("rgb+depth", "rgb", "depth")
baseline = "no fusion"
budget = {"model.backbone": "resnet18"}

methods = {
    "asymmetric": {"model.fusion": {"name": "asymmetric"}},
    "no fusion": {"model.fusion": None},
    "separate encoders": {"model.fusion": {"name": "asymmetric"}, "model.weights": "separate"},
    "channel exchange": {"model.fusion": {"name": "channel_exchange"}},
}
