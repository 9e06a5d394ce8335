"""AsymFusion on a ResNet-18 for RGB and depth, with the light decoder."""

from rgbx.models import multimodal_segmentor

model = dict(
    type=multimodal_segmentor,
    modalities=("rgb", "depth"),
    num_classes=40,
    backbone="resnet18",
    pretrained=None,  # "timm" downloads ImageNet weights; or the path of a weight file
    decoder=dict(width=128, dropout=0.1),
    modality_dropout=None,  # such as 0.5: half of the steps train on a part of the modalities
)
