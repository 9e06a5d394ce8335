"""Twelve runs of a few seconds each."""

config = "../../configs/rooms/asymfusion_r18_rooms_160x120.py"
_loaders = ("train", "val", "test")
budget = {
    "model.backbone": "test_resnet.r160_in1k",
    "model.pretrained": None,
    "model.decoder.width": 8,
    "train_cfg.max_epochs": 6,
    "train_cfg.val_interval": 6,
    "param_scheduler": [],
    "train_dataloader.batch_size": 2,
    "train_dataloader.persistent_workers": False,
    **{f"{_name}_dataloader.dataset.size": (40, 64) for _name in _loaders},
    **{f"{_name}_dataloader.dataset.num_frames": 4 for _name in _loaders},
    **{f"{_name}_dataloader.num_workers": 0 for _name in _loaders},
}
methods = {"asymmetric": {}, "no fusion": {"model.fusion": None}, "addition": {"model.fusion": {"name": "addition"}}}
seeds = (0, 1, 2, 3)
