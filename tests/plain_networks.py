"""The generators, before tanh, written out modality by modality in plain functions, and the exchange by slices."""

import torch
import torch.nn.functional as F

SHIFTS = ((1, 0), (0, 1), (0, -1), (-1, 0))  # rows and columns that content moves by, group after group


def shifted(x):
    """P: four groups of channels move by one pixel, what enters is zero, the remaining channels are zero."""
    group, (height, width) = x.shape[1] // 5, x.shape[-2:]
    out = torch.zeros_like(x)
    for k, (rows, columns) in enumerate(SHIFTS):
        for i in range(height):
            for j in range(width):
                if 0 <= i - rows < height and 0 <= j - columns < width:
                    channels = slice(k * group, (k + 1) * group)
                    out[:, channels, i, j] = x[:, channels, i - rows, j - columns]
    return out


def exchanged(maps):
    """F(x)_m = S(x + P(x)_{m-1})_m on a list of modalities, round the ring."""
    if len(maps) == 1:
        return maps
    count, kept = len(maps), 4 * (maps[0].shape[1] // 5)
    sums = [maps[m] + shifted(maps[m - 1]) for m in range(count)]
    return [torch.cat([sums[m][:, :kept], sums[(m + 1) % count][:, kept:]], 1) for m in range(count)]


def instance_norm(norm, name, x):
    """(x - mean) / √(variance + ε) over the pixels of each map, then the modality's scale and bias."""
    own = norm.norms[name]
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
    scale, bias = own.weight.view(1, -1, 1, 1), own.bias.view(1, -1, 1, 1)
    return (x - mean) / (variance + 1e-5).sqrt() * scale + bias


def unet(generator, inputs, *, fused=(), exchange=lambda maps, block: exchanged(maps)):
    """The U-Net without dropout as the authors of pix2pix wrote it: activations change what the skip reads.

    Args:
        generator: holds the weights.
        inputs: three-channel maps by modality, whose sides need no padding.
        fused: numbers of the encoder blocks, from 1, after which features are exchanged.
        exchange: how, given the list of modalities and the block.
    """
    names, depth = list(inputs), len(generator.encoder)
    maps, skips = list(inputs.values()), []
    for number, block in enumerate(generator.encoder, start=1):
        if number > 1:
            maps = [F.leaky_relu(x, 0.2) for x in maps]
            skips[-1] = maps
        maps = [F.conv2d(x, block.conv.weight, block.conv.bias, stride=2, padding=1) for x in maps]
        if 1 < number < depth:
            maps = [instance_norm(block.norm, name, x) for name, x in zip(names, maps, strict=True)]
        if number in fused:
            maps = exchange(maps, block)
        skips.append(maps)
    skips.pop()
    for number, block in enumerate(generator.decoder, start=1):
        if number > 1:
            maps = [torch.cat(pair, 1) for pair in zip(maps, skips.pop(), strict=True)]
        weight, bias = block.conv.weight, block.conv.bias
        maps = [F.conv_transpose2d(F.relu(x), weight, bias, stride=2, padding=1) for x in maps]
        if number < depth:
            maps = [instance_norm(block.norm, name, x) for name, x in zip(names, maps, strict=True)]
    return torch.cat(maps)


def resnet(generator, inputs, *, fused=()):
    """The residual generator; ``fused`` holds numbers of stages, from 1."""
    names, maps = list(inputs), list(inputs.values())

    def norm_relu(block, maps):
        return [F.relu(instance_norm(block.norm, name, x)) for name, x in zip(names, maps, strict=True)]

    def reflected(x, conv):
        margin = conv.weight.shape[-1] // 2
        return F.conv2d(F.pad(x, (margin,) * 4, mode="reflect"), conv.weight, conv.bias)

    maps = norm_relu(generator.stem, [reflected(x, generator.stem.conv) for x in maps])
    for number, stage in enumerate(generator.stages, start=1):
        if number <= 2:
            maps = norm_relu(stage, [F.conv2d(x, stage.conv.weight, stride=2, padding=1) for x in maps])
        else:
            for block in [module for module in stage if hasattr(module, "conv1")]:
                for m, name in enumerate(names):
                    x = F.relu(instance_norm(block.norm1, name, reflected(maps[m], block.conv1)))
                    maps[m] = maps[m] + instance_norm(block.norm2, name, reflected(x, block.conv2))
        if number in fused:
            maps = exchanged(maps)
    for block in generator.up:
        weight = block.conv.weight
        maps = norm_relu(block, [F.conv_transpose2d(x, weight, stride=2, padding=1, output_padding=1) for x in maps])
    return torch.cat([reflected(x, generator.last) for x in maps])
