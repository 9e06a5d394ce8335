"""AsymFusion-ResNet-101 with RefineNet on NYU Depth V2: the network of its authors, and their recipe nearly whole.

As theirs: RefineNet with dropout 0.5 on the two deepest features and before the classifier, images not padded, random
scale 0.5 to 2 with a shorter side of at least 350, crop 500, mirror, batch 6, SGD with momentum 0.9 and weight decay
1e-5 in three stages of 100 epochs, norm statistics frozen at those of torchvision's ImageNet weights, depth in metres
(their raw values times 1/5000) without further normalisation, inputs cut to the size of the masks.

Not as theirs: the last stage's decoder learning rate (6e-4 for 7e-4); momentum that goes on between stages; no weight
decay on norms and biases; the checkpoint is chosen on a part held out of train, where the authors choose it on the test
split. Their mIoU of 51.2 is that of ResNet-152, see asymfusion_r152_nyudv2_authors.py.

Converted checkpoints of the authors (tools/convert.py asymfusion) are tested with --protocol asymfusion.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.nyudv2_authors import *
    from .._base_.models.asymfusion_r18 import *
    from .._base_.runtime import *
    from .._base_.schedules.sgd_stages import *

model.update(
    backbone="resnet101.tv_in1k",
    pretrained="timm",
    norm_eval=True,
    decoder=dict(name="refinenet", width=256, dropout=0.5),
    pad_to_stride=False,
    statistics=dict(depth=dict(mean=(0.0,), std=(1.0,))),
)
