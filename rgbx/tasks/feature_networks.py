"""Networks that image metrics look through: Inception-v3 for FID and KID, AlexNet or VGG-16 for LPIPS.

Their weights are files that you give; nothing is downloaded, and nothing stands in for a file that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rgbx._torchvision import ensure_torchvision
from rgbx.backbones import read_pickle

LPIPS_LAYERS = {"alex": ("alexnet", (1, 4, 7, 9, 11)), "vgg": ("vgg16", (3, 8, 15, 22, 29))}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_INCEPTION_HINT = (
    "expected the Inception-v3 of TensorFlow converted for torch-fidelity, "
    "weights-inception-2015-12-05-6726825d.pth of its releases"
)


def inception_features(weights: str | Path) -> nn.Module:
    """The network whose pooled features FID and KID are defined on, through torch-fidelity.

    Args:
        weights: a local file, see `_INCEPTION_HINT`; torchvision's Inception-v3 is another network.

    Returns:
        Maps uint8 [N, 3, H, W] to a tuple of one tensor, float32 [N, 2048]; it resizes images to 299x299 itself, as
        TensorFlow did.

    Raises:
        ImportError: torch-fidelity is not installed.
        FileNotFoundError, ValueError: no such file, or not these weights.
    """
    try:
        ensure_torchvision()  # which it imports
        library = import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ImportError as error:
        raise ImportError(
            f"FID and KID need torch-fidelity ({error}): pip install 'rgbx[metrics]', or leave fid=None"
        ) from error
    read_weights(weights, "Inception weights", _INCEPTION_HINT)  # so that a pickle of other things never runs
    try:
        network: nn.Module = library.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
        )
    except RuntimeError as error:
        raise ValueError(f"{weights}: {_INCEPTION_HINT}, but its keys or shapes differ: {error}") from error
    return network.requires_grad_(False).eval()


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity, version 0.1: a distance, 0 for equal images.

    Args:
        backbone: torchvision's ImageNet weights of the network, a local file.
        linear: the weights per channel that the authors learned, a local file (`alex.pth` or `vgg.pth` of the lpips
            package).
        network: "alex" or "vgg".

    Raises:
        FileNotFoundError, ValueError: no such file, or not these weights.

    Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: str | Path, linear: str | Path, network: str = "alex") -> None:
        super().__init__()
        if network not in LPIPS_LAYERS:
            raise ValueError(f"LPIPS knows the networks {sorted(LPIPS_LAYERS)}, found {network!r}")
        name, self.layers = LPIPS_LAYERS[network]
        ensure_torchvision()
        built = getattr(import_module("torchvision.models"), name)(weights=None)
        hint = f"expected torchvision's {name} weights"
        try:
            built.load_state_dict(read_weights(backbone, "LPIPS backbone", hint))
        except RuntimeError as error:
            raise ValueError(f"{backbone}: {hint}, but its keys or shapes differ: {error}") from error
        self.features = built.features[: self.layers[-1] + 1]
        state = read_weights(linear, "LPIPS weights", f"expected {network}.pth of the lpips package")
        wanted = [f"lin{k}.model.1.weight" for k in range(len(self.layers))]
        if set(state) != set(wanted):
            raise ValueError(f"{linear}: expected the keys {wanted}, found {sorted(state)[:8]}")
        self.weights = nn.ParameterList(state[key] for key in wanted)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(
        self,
        prediction: Tensor,  # [N, 3, H, W], -1..1
        target: Tensor,  # [N, 3, H, W], -1..1
    ) -> Tensor:
        """Distances [N]."""
        total = prediction.new_zeros(len(prediction))
        pairs = zip(self._activations(prediction), self._activations(target), strict=True)
        for weight, (a, b) in zip(self.weights, pairs, strict=True):
            total = total + ((a - b).square() * weight).sum(1).mean((1, 2))
        return total

    def _activations(
        self,
        x: Tensor,  # [N, 3, H, W]
    ) -> list[Tensor]:
        """Outputs of the layers, each pixel's features of length 1."""
        x, found = (x - self.shift) / self.scale, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.layers:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found


def read_weights(path: str | Path, what: str, hint: str) -> Mapping[str, Any]:
    """The tensors of a weight file.

    Raises:
        FileNotFoundError, ValueError: no such file, or not a dict of plain tensors; the message ends with the hint.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{what}: {path}: no such file; {hint}. Nothing is downloaded")
    try:
        state = read_pickle(path, what=what)
    except ValueError as error:
        raise ValueError(f"{error}; {hint}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{what}: {path} holds a {type(state).__name__}, not a dict of tensors; {hint}")
    return state
