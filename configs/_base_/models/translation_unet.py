"""pix2pix's U-Net with asymmetric fusion and a 70x70 PatchGAN, from depth and normals to RGB."""

from rgbx.models import multimodal_translator

model = dict(
    type=multimodal_translator,
    modalities=("depth", "normal"),
    target="rgb",
    generator=dict(name="unet", width=64, depth=8, dropout=0.5),
    fusion="asymmetric",
    discriminator=dict(name="patch", width=64, layers=3, spectral_norm=False),  # None: L1 alone
    adversarial="vanilla",  # "lsgan", "hinge"
    l1=100.0,
    matching=0.0,  # factor of feature matching
    perceptual=None,  # such as dict(weights="vgg19-dcbb9e9d.pth", weight=10.0)
    ranges=None,  # such as dict(depth=dict(low=0.0, high=10.0)), which is the default; scale="log" for small values
    modality_dropout=None,
)
