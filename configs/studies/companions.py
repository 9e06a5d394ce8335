"""What the systems beside asymmetric fusion cost on rooms of 60x80: parameters, operations, time of a step and a frame.

    rgbx render-rooms data/rooms_60x80 --size 60x80
    rgbx study configs/studies/companions.py --data-root data/rooms_60x80 --table-only

What each is for and what it brings, and where it brings nothing, is told by docs/asynchronous.md (`mea`),
docs/missing_sensor.md (`graph`, `hallucinate`, `modality_translation`) and docs/objectives.md (`knowledge_guidance`,
gates). On stills `mea` attends within windows; of clips it costs as many frames more as these have.
"""

config = "../rooms/asymfusion_r18_rooms_160x120.py"
seeds = (0,)
modalities = ("rgb+depth", "depth")
baseline = "no fusion"

budget = {
    "train_cfg.max_epochs": 4,
    "train_cfg.val_interval": 4,
    "dataset.size": (60, 80),
    "model.backbone": "resnet10t",
    "model.modality_dropout": None,
    "default_hooks.checkpoint.max_keep_ckpts": 1,
}

_translation = {"name": "modality_translation", "stages": (2,)}

methods = {
    "no fusion": {"model.fusion": None},
    "asymmetric": {"model.fusion": {"name": "asymmetric"}},
    "asymmetric, hallucinating": {"model.fusion": {"name": "asymmetric"}, "model.hallucinate": True},
    "asymmetric, translation": {"model.fusion": {"name": "asymmetric"}, "model.objectives": [_translation]},
    "asymmetric, gates": {"model.fusion": {"name": "asymmetric"}, "model.purification": {"supervision": "literal"}},
    "asymmetric, guidance": {
        "model.fusion": {"name": "asymmetric"},
        "model.objectives": [{"name": "knowledge_guidance"}],
    },
    "graph": {"model.fusion": {"name": "graph"}},
    "graph, translation": {"model.fusion": {"name": "graph"}, "model.objectives": [{"name": "modality_translation"}]},
    "mea": {"model.fusion": {"name": "mea"}},
}
