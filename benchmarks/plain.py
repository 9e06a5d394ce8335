"""The way that released code computes a network of rgbx: a loop over the modalities, written here without rgbx's own.

Each modality passes through the shared layers alone, contiguous in float32; channel shuffle and pixel shift are
assignments to slices; every branch and the ensemble are brought to the size of the image and then to class ids. The
layers are those of a model of rgbx, so that answers can be compared, and a private norm called for one modality is
torch's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from rgbx.models import MultimodalModel
from rgbx.ops import channel_group

Maps = dict[str, Tensor]
WINDOW, STRIDE = 1024, 512


class PlainNetwork:
    """A segmentation network of rgbx, computed modality by modality.

    Args:
        model: of one head, on a ResNet of timm, an EfficientNet or a transformer of EVA's form; its weights become
            contiguous.
    """

    def __init__(self, model: MultimodalModel) -> None:
        self.backbone = cast(Any, model.backbone)
        self.model = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        (self.head,) = (head for _, head in model.named_heads())
        self.fused = {stage.path for stage in self.backbone.anatomy.stages}
        self._padded = (0, 0)

    def normalised(self, batch: Mapping[str, Tensor]) -> Maps:
        """Float32 [N, 3, H, W] of each modality, padded at the right and bottom to what the network reads."""
        found = {}
        for name, statistics in self.model.data_preprocessor.inputs.items():
            if name not in batch:
                continue
            x = (batch[name].to(statistics.mean.device).float() - statistics.mean) / statistics.std
            if x.shape[1] == 1 and name == "depth":
                x = x * (batch[name].to(x.device) > 0)
            height, width = x.shape[-2:]
            x = F.pad(x, (0, -width % self.model.stride, 0, -height % self.model.stride))
            found[name] = x.expand(-1, 3, -1, -1).contiguous()
        return found

    def logits(self, maps: Maps, size: tuple[int, int]) -> Maps:
        """What each branch and the ensemble say, [N, K, *size]."""
        network = self.backbone.network
        self._padded = padded = _size(maps)
        kind = type(network).__name__
        features = {"FeatureListNet": self._resnet, "EfficientNetFeatures": self._efficientnet}.get(kind, self._eva)(
            maps, network
        )
        if self.backbone.pyramid is not None:
            levels = self._each(self.backbone.pyramid, features[-1])
            features = [{name: levels[name][i] for name in maps} for i in range(len(next(iter(levels.values()))))]
        found: Maps = {}
        for name in maps:
            with self.model.layout.holding([name]):
                x = self.head.decoder([stage[name] for stage in features])
            x = F.interpolate(x, size=padded, mode="bilinear", align_corners=False)
            found[name] = x[..., : size[0], : size[1]]
        if len(maps) == 1:
            return {**found, "ensemble": found[name]}
        alpha = torch.stack([self.head.alpha[name] for name in maps]).softmax(0)
        weighted = [w * found[name].detach() for w, name in zip(alpha, maps, strict=True)]
        return {**found, "ensemble": torch.stack(weighted).sum(0)}

    @torch.no_grad()
    def predict(self, batch: Mapping[str, Tensor], *, sliding: bool = False) -> Maps:
        """Class ids uint8 [N, H, W] of each branch and the ensemble."""
        size = _size(batch)
        if not sliding:
            found = self.logits(self.normalised(batch), size)
            return {name: x.argmax(1).to(torch.uint8) for name, x in found.items()}
        total: Maps = {}
        seen = torch.zeros(size)
        rises = torch.minimum(torch.arange(1, WINDOW + 1), torch.arange(WINDOW, 0, -1)).float()
        for rows, columns in _windows(size):
            weight = rises[: rows.stop - rows.start, None] * rises[None, : columns.stop - columns.start]
            part = {name: x[..., rows, columns] for name, x in batch.items() if isinstance(x, Tensor) and x.ndim == 4}
            for name, x in self.logits(self.normalised(part), _size(part)).items():
                scores = x.softmax(1)
                sums = total.setdefault(name, scores.new_zeros(*scores.shape[:2], *size))
                sums[..., rows, columns] += scores * weight.to(scores)
            seen[rows, columns] += weight
        return {name: (x / seen.to(x)).argmax(1).to(torch.uint8) for name, x in total.items()}

    def losses(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        """Cross entropy of each branch and of the ensemble."""
        label = batch["label"].to(next(self.model.parameters()).device)
        found = self.logits(self.normalised(batch), _size(batch))
        return [F.cross_entropy(x, label, ignore_index=255) for x in found.values()]

    def _each(self, layer: Callable[[Tensor], Tensor], maps: Maps) -> Maps:
        found = {}
        for name, x in maps.items():
            with self.model.layout.holding([name], size=self._padded):
                found[name] = layer(x)
        return found

    def _resnet(self, maps: Maps, network: Any) -> list[Maps]:
        found = []
        for name in ("conv1", "bn1", "act1", "maxpool"):
            maps = self._each(network.get_submodule(name), maps)
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            *blocks, last = stage
            for block in blocks:
                maps = self._each(block, maps)
            maps = self._bottleneck(last, maps) if hasattr(last, "conv3") else self._basic_block(last, maps)
            found.append(maps)
        return found

    def _bottleneck(self, block: Any, x: Maps) -> Maps:
        a = self._each(lambda y: F.relu(block.bn1(block.conv1(y))), x)
        b = self._each(lambda y: F.relu(block.bn2(block.conv2(y))), shuffled(a))
        c = received(b, a)
        out = self._each(lambda y: block.bn3(block.conv3(y)), shuffled(c))
        return {name: F.relu(y + self._shortcut(block, x[name], name)) for name, y in out.items()}

    def _basic_block(self, block: Any, x: Maps) -> Maps:
        a = self._each(lambda y: F.relu(block.bn1(block.conv1(y))), x)
        b = self._each(lambda y: block.bn2(block.conv2(y)), shuffled(a))
        out = shuffled(received(b, a))
        return {name: F.relu(y + self._shortcut(block, x[name], name)) for name, y in out.items()}

    def _shortcut(
        self,
        block: Any,
        x: Tensor,  # [N, C, H, W]
        name: str,
    ) -> Tensor:
        with self.model.layout.holding([name]):
            return x if block.downsample is None else block.downsample(x)

    def _efficientnet(self, maps: Maps, network: Any) -> list[Maps]:
        found = []
        maps = self._each(lambda x: network.bn1(network.conv_stem(x)), maps)
        for i, stage in enumerate(network.blocks):
            maps = self._each(stage, maps)
            if f"blocks.{i}" in self.fused:
                maps = shuffled(received(maps, maps))
                found.append(maps)
        return found

    def _eva(self, maps: Maps, network: Any) -> list[Maps]:
        vit = network.model
        size = self._padded
        grid = (size[0] // vit.patch_embed.patch_size[0], size[1] // vit.patch_embed.patch_size[1])
        before = vit.num_prefix_tokens
        tokens, rope = {}, None
        for name, x in maps.items():
            tokens[name], rope = vit._pos_embed(vit.patch_embed(x))
        found: list[Maps] = []
        for i, block in enumerate(vit.blocks):
            for name, x in tokens.items():
                with self.model.layout.holding([name], size=size):
                    tokens[name] = block(x, rope=rope)
            if f"blocks.{i}" in self.fused:
                flat = {name: x[:, before:].transpose(1, 2).contiguous() for name, x in tokens.items()}
                square = {name: x.unflatten(2, grid) for name, x in flat.items()}
                square = shuffled(received(square, square))
                for name, x in square.items():
                    tokens[name] = torch.cat([tokens[name][:, :before], x.flatten(2).transpose(1, 2)], 1)
                found.append(square)
        return found


def shuffled(x: Maps) -> Maps:
    """S: the last channels come from the next modality of the ring."""
    names = list(x)
    found = {}
    for i, name in enumerate(names):
        kept = 4 * channel_group(x[name].shape[1])
        found[name] = x[name].clone()
        found[name][:, kept:] = x[names[(i + 1) % len(names)]][:, kept:]
    return found


def shifted(
    x: Tensor,  # [N, C, H, W]
) -> Tensor:
    """P: four groups of channels move by one pixel, the others become 0."""
    g = channel_group(x.shape[1])
    found = torch.zeros_like(x)
    found[:, :g, 1:] = x[:, :g, :-1]
    found[:, g : 2 * g, :, 1:] = x[:, g : 2 * g, :, :-1]
    found[:, 2 * g : 3 * g, :, :-1] = x[:, 2 * g : 3 * g, :, 1:]
    found[:, 3 * g : 4 * g, :-1] = x[:, 3 * g : 4 * g, 1:]
    return found


def received(b: Maps, a: Maps) -> Maps:
    """b + P(a) of the modality before; one alone receives nothing."""
    names = list(b)
    if len(names) == 1:
        return b
    return {name: b[name] + shifted(a[names[i - 1]]) for i, name in enumerate(names)}


def _windows(size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    spans = []
    for side in size:
        steps = max(math.ceil((side - WINDOW) / STRIDE), 0)
        starts = [max(min(i * STRIDE, side - WINDOW), 0) for i in range(steps + 1)]
        spans.append([slice(start, min(start + WINDOW, side)) for start in starts])
    return ((rows, columns) for rows in spans[0] for columns in spans[1])


def _size(maps: Mapping[str, Tensor]) -> tuple[int, int]:
    height, width = next(x for x in maps.values() if x.ndim == 4).shape[-2:]
    return int(height), int(width)
