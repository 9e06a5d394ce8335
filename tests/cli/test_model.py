"""Models of configs, also where they name how class weights are counted."""

import pytest
from mmengine.config import Config

from rgbx.cli.model import config_model
from rgbx.models import multimodal, multimodal_segmentor

WEIGHTED = {"name": "cross_entropy", "class_weights": "median_frequency"}
FLAT = dict(type=multimodal_segmentor, num_classes=3, loss=WEIGHTED)
HEADS = dict(type=multimodal, heads=dict(labels=dict(task="classes", num_classes=3, loss=WEIGHTED)))


@pytest.mark.parametrize("model", [FLAT, HEADS], ids=["flat", "heads"])
def test_weights_that_are_to_be_counted_are_ones(model):
    config = Config(dict(model=dict(**model, modalities=("rgb",), backbone="test_resnet")), format_python_code=False)
    (head,) = config_model(config).recipe["parameters"]["heads"].values()
    assert head["loss"] == {"name": "cross_entropy", "class_weights": [1.0, 1.0, 1.0]}
