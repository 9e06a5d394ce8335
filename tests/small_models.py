"""Small models of every task, and batches that hold what their heads need."""

import copy

import torch

from rgbx.models import multimodal
from rgbx.tasks import Target

torch.set_num_threads(1)  # for images of a thousand pixels, more only wait for each other

DECODER = {"width": 16, "dropout": 0.0}
LABELS = dict(task="classes", num_classes=5, decoder={"name": "light", **DECODER})
NORMAL = dict(task="map", unit="unit_vector", decoder={"name": "image", **DECODER})
DENSE = dict(task="map", unit="metre", decoder={"name": "image", **DECODER}, l1=3.0)
HEADS = {
    "classes": {"labels": LABELS},
    "map": {"normal": NORMAL},
    "both": {"labels": LABELS, "normal": NORMAL},
    "three": {"labels": LABELS, "normal": NORMAL, "dense": DENSE},
}
UNET = dict(name="unet", width=4, depth=3, dropout=0.0)
STATISTICS = {"thermal": {"mean": [20.0], "std": [5.0]}}


def small(kind="both", seed=0, **options):
    """A model of the heads of `kind`, or of those given; keywords go to `multimodal`."""
    torch.manual_seed(seed)
    options = {"modalities": ("rgb", "depth"), "backbone": "test_resnet", "heads": HEADS.get(kind), **options}
    heads = copy.deepcopy(options.pop("heads"))
    for head in heads.values():
        if not isinstance(options["backbone"], str):
            head.pop("decoder", None)
        for key in [key for key in options if key.startswith("head_")]:
            head[key.removeprefix("head_")] = options[key]
    options = {key: value for key, value in options.items() if not key.startswith("head_")}
    if "thermal" in options["modalities"]:
        options.setdefault("statistics", STATISTICS)
    return multimodal(heads=heads, **options)


def batch(size=(34, 50), count=2):
    """A collated batch whose sides no stride divides; depth and the dense map have holes."""
    g = torch.Generator().manual_seed(1)
    return {
        "rgb": torch.randint(0, 256, (count, 3, *size), generator=g, dtype=torch.uint8),
        "depth": torch.rand(count, 1, *size, generator=g) * 9 - 1,
        "edge": torch.rand(count, 1, *size, generator=g),
        "thermal": torch.rand(count, 1, *size, generator=g) * 9 + 16,
        "normal": torch.nn.functional.normalize(torch.randn(count, 3, *size, generator=g), dim=1),
        "dense": torch.rand(count, 1, *size, generator=g) * 9 - 1,
        "label": torch.randint(0, 5, (count, *size), generator=g),
        "sample_id": [f"s{i}" for i in range(count)],
        "paths": {name: [""] * count for name in ("edge", "thermal", "normal", "dense")},
    }


def part(data, samples):
    """Some samples, a slice, of a batch."""
    files = {name: found[samples] for name, found in data["paths"].items()}
    return {key: value[samples] for key, value in data.items() if key != "paths"} | {"paths": files}


def run(model, data, mode="tensor", **options):
    """The model in a mode, on a batch in its own units; outputs of a single head under its name too."""
    found = model(**model.data_preprocessor(data), mode=mode, **options)
    if mode != "tensor" or len(model.heads) > 1:
        return found
    return {next(iter(model.heads)): found}


def diverse(module, seed=0):
    """Draws scales, biases and α anew, so that modalities differ and biases count."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def equal(first, second):
    """Whether two nested dicts of tensors are the same to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return list(first) == list(second) and all(equal(x, second[key]) for key, x in first.items())


def labelled(label):
    """Labels [N, H, W] as the targets of a model of one head called labels."""
    return {"labels": Target(label)}


def decoder_logits(model, inputs):
    """Logits of every branch and the ensemble at the decoder's resolution, of a model of one head called labels."""
    branches = [] if model.backbone.single_branch else [name for name in model.modalities if name in inputs]
    with model.layout.holding(inputs):
        names, stack = model.heads["labels"](model.backbone(inputs), branches)
    return dict(zip(names, stack.split([stack.shape[0] // len(names)] * len(names)), strict=True))
