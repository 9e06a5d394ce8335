"""How runs are logged, saved and scored; every experiment begins with this."""

from mmengine.hooks import LoggerHook
from mmengine.visualization import LocalVisBackend, TensorboardVisBackend, Visualizer

from rgbx.evaluate.metric import Metrics
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.console import ProgressBarHook

default_hooks = dict(
    logger=dict(type=LoggerHook, interval=50),
    checkpoint=dict(type=CheckpointHook, interval=1, max_keep_ckpts=2, save_best="auto"),
    progress=dict(type=ProgressBarHook),
)

val_cfg = dict()  # protocol, dtype; pictures=4 draws that many samples to pictures/epoch_N.png
val_evaluator = dict(type=Metrics)
test_cfg = dict()  # protocol, dtype
test_evaluator = dict(type=Metrics)

# Scalars for the loss curve (vis_data/scalars.json) and for TensorBoard, in the work directory.
visualizer = dict(
    type=Visualizer,
    vis_backends=[dict(type=LocalVisBackend), dict(type=TensorboardVisBackend)],
)

# Switches. Mixed precision and gradient accumulation are in the schedule's optim_wrapper.
randomness = dict(seed=0, deterministic=False)
ema = False  # True, or dict(momentum=0.0002): evaluate and save averaged weights
# on_nonfinite = "skip" leaves steps out that are not finite, which end a run otherwise: see docs/training.md
compile = False  # True, or the arguments of torch.compile, such as dict(mode="max-autotune")
load_from = None  # a checkpoint to fine-tune, also of other classes or modalities
