"""Steps of training on the folder's own frames, for their time and memory only."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW

from rgbx._types import Batch, Options
from rgbx.backbones.stems import needs_stem
from rgbx.configure.facts import Data, Machine
from rgbx.configure.planner import WIDTHS, Costs, Trial, Weights
from rgbx.datasets.sample import SampleKey
from rgbx.models import MultimodalModel, multimodal_segmentor, multimodal_translator
from rgbx.profile.measure import peak_bytes
from rgbx.train.loops import training_step
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomCrop, RandomScaleCrop, collate

SCALE = (0.5, 1.75)
STEM = "copy"  # of maps of several channels: filters of colours, repeated
VALIDATED = 8  # frames of a validation batch, where they are of one size
LARGE = 500_000  # pixels of a frame beyond which one is validated to see how long it takes
_DEEPEST = 7  # blocks of a U-Net


def model_options(data: Data, trial: Trial, pretrained: str | None) -> dict[str, Any]:
    """What a model of the data is built from, by its builder; for a translation of a size of crops."""
    if data.target:
        width = WIDTHS[trial.backbone]
        return {
            "type": multimodal_translator,
            "modalities": data.modalities,
            "target": data.target,
            "target_channels": data.maps[data.target].channels,
            "generator": {
                "name": "unet", "width": width, "depth": min(_DEEPEST, int(math.log2(min(trial.crop)))),
                "dropout": 0.0 if width < 64 else 0.5,
            },
            "discriminator": {"name": "patch", "width": width, "layers": 3},
            "ranges": _ranges(data),
        }  # fmt: skip
    return {
        "type": multimodal_segmentor,
        "modalities": data.modalities,
        "num_classes": len(data.classes),
        "backbone": trial.backbone,
        "pretrained": pretrained,
        "decoder": {"width": 256 if trial.backbone == "resnet50" else 128, "dropout": 0.1},
        "statistics": data.measured.statistics,
        **({"stems": stems} if (stems := stems_of(data)) else {}),
    }


def stems_of(data: Data) -> dict[str, str]:
    """How each map that no first convolution of colours reads gets one of its own."""
    return {name: STEM for name in data.modalities if needs_stem(data.maps[name].channels)}


def _ranges(data: Data) -> dict[str, dict[str, float]]:
    """Of each map, from the values that were seen, or those that its unit can have."""
    known = {"rgb8": (0.0, 255.0), "encoded": (0.0, 255.0), "unit_vector": (-1.0, 1.0)}
    found = {}
    for name, spec in data.maps.items():
        low, high = known.get(spec.unit) or data.measured.ranges.get(name, (0.0, 1.0))
        found[name] = {"low": 0.0 if spec.zero_is_hole else low, "high": high}
    return found


def training_transforms(data: Data, crop: tuple[int, int]) -> list[Options]:
    """What happens to a training sample."""
    if data.target:
        return [{"type": RandomCrop, "size": crop}, {"type": HorizontalFlip}, {"type": PackSample}]
    jitter = [{"type": ColorJitter}] if "rgb" in data.modalities else []
    cut = {"type": RandomScaleCrop, "size": crop, "scale": SCALE}
    return [cut, {"type": HorizontalFlip}, *jitter, {"type": PackSample}]


class DryRun:
    """Measures trials on a folder's frames.

    Args:
        data: whose training frames are read.
        machine: what trains.
        device: of it.
        weights: that a backbone starts from: they are loaded once, so that a file of others is told before a training.
    """

    def __init__(self, data: Data, machine: Machine, device: torch.device, weights: Callable[[str], Weights]) -> None:
        self.data, self.machine, self.device, self.weights = data, machine, device, weights
        self._models: dict[str, MultimodalModel] = {}
        self._frame: dict[str, float] = {}
        self._save: dict[str, float] = {}

    def __call__(self, trial: Trial) -> Costs:
        """The costs of a trial; memory is inf where it does not fit."""
        start, working = time.monotonic(), time.process_time()
        model = self._model(trial)
        dataset = self.data.dataset(self.data.train, training_transforms(self.data, trial.crop))
        began = time.perf_counter()
        samples = [dataset[SampleKey(i * len(dataset) // trial.batch, 0)] for i in range(trial.batch)]
        load = (time.perf_counter() - began) / trial.batch
        batch, wrapper = collate(samples), self._optimizer(model)
        try:
            memory = float(self._memory(model, batch, wrapper))
            step = self._seconds(lambda: training_step(model, batch, wrapper), 3 if trial.batch > 2 else 2)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            memory, step = float("inf"), float("inf")
        frame, save = self._validation(trial.backbone, model), self._saving(trial.backbone, model, wrapper)
        spent = time.monotonic() - start
        busy = (time.process_time() - working) / (spent * self.machine.threads)
        free = 1.0 if self.device.type == "cuda" else min(1.0, busy)
        return Costs(step, memory, load, frame, save, spent, free)

    def _model(self, trial: Trial) -> MultimodalModel:
        pretrained = None if self.data.target else self.weights(trial.backbone).value
        options = model_options(self.data, trial, pretrained)
        if (known := repr(options)) not in self._models:
            model = options.pop("type")(**options)
            model.data_preprocessor.describe(self.data.maps)
            self._models = {known: model.to(self.device)}
        return self._models[known].train()

    def _optimizer(self, model: MultimodalModel) -> AutocastOptimWrapper:
        options = {"optimizer": {"type": AdamW, "lr": 1e-6}, "dtype": "auto"}
        wrapper: Any = EncoderDecoderConstructor(options)(model)
        return wrapper

    def _memory(self, model: MultimodalModel, batch: Batch, wrapper: AutocastOptimWrapper) -> int:
        held = [*model.parameters(), *model.buffers(), *(x for x in batch.values() if isinstance(x, torch.Tensor))]
        return peak_bytes(lambda: training_step(model, batch, wrapper), self.device, held)

    def _seconds(self, call: Callable[[], object], repeats: int) -> float:
        taken = []
        for _ in range(repeats):
            self._wait()
            began = time.perf_counter()
            call()
            self._wait()
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _validation(self, backbone: str, model: MultimodalModel) -> float:
        """Seconds of validating a frame."""
        if backbone not in self._frame:
            dataset = self.data.dataset(self.data.val, [{"type": PackSample}])
            sizes = self.data.measured.sizes
            small = len(sizes) == 1 and max(height * width for height, width in sizes) <= LARGE
            count = min(len(dataset), 4 if small else 1)
            model.eval()

            def validate() -> None:
                batch = collate([dataset[i] for i in range(count)])
                with torch.no_grad():
                    model(**model.data_preprocessor(batch), mode="predict")

            self._frame[backbone] = self._seconds(validate, 2 if small else 1) / count
        return self._frame[backbone]

    def _saving(self, backbone: str, model: MultimodalModel, wrapper: AutocastOptimWrapper) -> float:
        """Seconds of writing a resumable checkpoint."""
        if backbone not in self._save:
            with tempfile.TemporaryFile() as file:
                state = {"state_dict": model.state_dict(), "optimizer": wrapper.state_dict()}
                self._save[backbone] = self._seconds(lambda: torch.save(state, file), 1)
        return self._save[backbone]
