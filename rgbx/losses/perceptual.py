"""Perceptual loss on the features of a VGG network whose weights are a local file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._pickles import rehearse

DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions of each block, pooling in between
FILES = "vgg16-397923af.pth or vgg19-dcbb9e9d.pth"
LAYERS = {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1.0}
_KEYS = re.compile(r"features\.([0-9]{1,2})\.weight"), re.compile(r"features\.([0-9]{1,2})\.bias")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision trained its networks


class PerceptualLoss(nn.Module):
    """Σ over layers l of w_l · mean |φ_l(prediction) - φ_l(target)|, φ_l being VGG's features after a ReLU.

    The network is fixed and its weights are not part of the state dict, so checkpoints stay small; they follow the
    module to its device.

    Source: Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution" (arXiv 1603.08155,
    section 3.2); layers, weights and the absolute difference as in pix2pixHD (arXiv 1711.11585, code of the authors).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str | Path, *, layers: Mapping[str, float] | None = None) -> None:
        """Reads the network.

        Args:
            weights: torchvision's VGG16 or VGG19 (without batch norm) as a local file; nothing is downloaded.
            layers: weight of each layer by name, ``"relu{block}_{convolution}"``; None for pix2pixHD's, the first of
                each block.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it holds another network, or for an unknown layer.
        """
        super().__init__()
        self.layers = dict(LAYERS if layers is None else layers)
        state = _read(Path(weights))
        depths = _depths(state, weights)
        names = [name for name, _ in _convolutions(depths)]
        unknown = [name for name in self.layers if name not in names]
        if unknown or not self.layers:
            raise ValueError(f"layers hold {unknown or 'no name'}; expected some of {names}")
        self.names = names[: max(names.index(name) for name in self.layers) + 1]
        for name, index in list(_convolutions(depths))[: len(self.names)]:
            for kind in ("weight", "bias"):
                tensor = state[f"features.{index}.{kind}"].detach().float()
                self.register_buffer(f"{name}_{kind}", tensor, persistent=False)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values, device="cpu").view(1, 3, 1, 1), persistent=False)

    def forward(
        self,
        prediction: Tensor,  # [N, 1 or 3, H, W] in -1..1
        target: Tensor,  # [N, 1 or 3, H, W] in -1..1
    ) -> Tensor:
        """The loss for images of at least 16 pixels a side, if all five blocks count.

        Raises:
            ValueError: for another number of channels.
        """
        with torch.no_grad():
            real = self.features(target)
        fake = self.features(prediction)
        terms = [w * (fake[name].float() - real[name].float()).abs().mean() for name, w in self.layers.items()]
        return torch.stack(terms).sum()

    def features(
        self,
        images: Tensor,  # [N, 1 or 3, H, W] in -1..1
    ) -> dict[str, Tensor]:  # layer: [N, c, h, w]
        """Features after the ReLU of every layer that counts."""
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images have shape {list(images.shape)}; expected [N, 1, H, W] or [N, 3, H, W]")
        x = ((images + 1) / 2 - self.mean) / self.deviation  # one channel becomes three here
        found = {}
        for name in self.names:
            if name.endswith("_1") and name != "relu1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(F.conv2d(x, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias"), padding=1))
            if name in self.layers:
                found[name] = x
        return found


def _convolutions(depths: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """Names of the layers and the index of their convolution in torchvision's ``features``."""
    index = 0
    for block, depth in enumerate(depths, start=1):
        for number in range(1, depth + 1):
            yield f"relu{block}_{number}", index
            index += 2  # convolution and ReLU
        index += 1  # pooling


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; the perceptual loss needs torchvision's VGG weights ({FILES} from "
            "https://download.pytorch.org/models/) as a local file and downloads nothing"
        )
    try:
        rehearse(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make unpicklers raise errors of any kind
        raise ValueError(f"{path} is no weight file of torch ({error}); expected {FILES}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds a {type(state).__name__}; expected torchvision's state dict, {FILES}")
    return state


def _depths(
    state: Mapping[str, Tensor],  # key: [out, in, 3, 3] or [out]
    path: str | Path,
) -> tuple[int, ...]:
    indices = [{int(key[1]) for key in map(form.fullmatch, map(str, state)) if key} for form in _KEYS]
    for depths in DEPTHS.values():
        if indices == 2 * [{index for _, index in _convolutions(depths)}]:
            return depths
    keys = ", ".join(map(str, list(state)[:3]))
    raise ValueError(f"{path} is no VGG16 or VGG19 of torchvision: its keys are {keys}, ...; expected {FILES}")
