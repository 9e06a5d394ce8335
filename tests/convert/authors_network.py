"""The authors' network once more, from its description alone: one list entry per modality, their names, no modules.

Independent of rgbx: used to check networks of other depths, sizes and batches than the stored reference answers.
"""

import torch
import torch.nn.functional as F


def authors_keys(keys, depth):
    """{key: shape} of a deeper network, from those of the ResNet-50: more blocks like its second in a stage."""
    blocks = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
    result = dict(keys)
    for stage, count in enumerate(blocks, start=1):
        pattern = f"layer{stage}.1."
        for block in range(2, count):
            result |= {
                k.replace(pattern, f"layer{stage}.{block}."): s for k, s in keys.items() if k.startswith(pattern)
            }
    return result


def shuffle(a, b):
    s = a.shape[1] // 5 * 4
    return [torch.cat([a[:, :s], b[:, s:]], 1), torch.cat([b[:, :s], a[:, s:]], 1)]


def shift(x):
    """Content moves down, right, left, up by one pixel in the first four fifths of the channels."""
    out, g = torch.zeros_like(x), x.shape[1] // 5
    out[:, :g, 1:] = x[:, :g, :-1]
    out[:, g : 2 * g, :, 1:] = x[:, g : 2 * g, :, :-1]
    out[:, 2 * g : 3 * g, :, :-1] = x[:, 2 * g : 3 * g, :, 1:]
    out[:, 3 * g : 4 * g, :-1] = x[:, 3 * g : 4 * g, 1:]
    return out


class AuthorsNetwork:
    """Callable: inputs, one [N, 3, H, W] per modality, to logits [N, K, h, w] per modality and of the ensemble.

    With a threshold it is the network of CEN: all blocks exchange single channels, and none shuffles or shifts.
    """

    def __init__(self, weights, threshold=None):
        self.weights, self.threshold, self.exchanged = weights, threshold, 0

    def exchange(self, xs, name):
        found = [x.clone() for x in xs]
        for m, other in ((0, 1), (1, 0)):
            for channel, scale in enumerate(self.weights[f"{name}.bn_{m}.weight"].tolist()):
                if abs(scale) < self.threshold:
                    found[m][:, channel] = xs[other][:, channel]
                    self.exchanged += 1
        return found

    def conv(self, xs, name, stride=1):
        weight, bias = self.weights[f"{name}.module.weight"], self.weights.get(f"{name}.module.bias")
        return [F.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2) for x in xs]

    def norm(self, xs, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return [F.batch_norm(x, *(self.weights[f"{name}.bn_{i}.{k}"] for k in keys)) for i, x in enumerate(xs)]

    def block(self, xs, name, stride, fused):
        a = [F.relu(x) for x in self.norm(self.conv(xs, f"{name}.conv1"), f"{name}.bn1")]
        fused = fused and self.threshold is None
        b = self.norm(self.conv(shuffle(*a) if fused else a, f"{name}.conv2", stride), f"{name}.bn2")
        if self.threshold is not None:
            b = self.exchange(b, f"{name}.bn2")
        b = [F.relu(x) for x in b]
        if fused:
            b = shuffle(b[0] + shift(a[1]), b[1] + shift(a[0]))
        out = self.norm(self.conv(b, f"{name}.conv3"), f"{name}.bn3")
        if f"{name}.downsample.0.module.weight" in self.weights:
            xs = self.norm(self.conv(xs, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return [F.relu(x + y) for x, y in zip(xs, out, strict=True)]

    def features(self, xs):
        xs = [F.relu(x) for x in self.norm(self.conv(xs, "conv1", 2), "bn1")]
        xs = [F.max_pool2d(x, 3, 2, 1) for x in xs]
        for stage in range(1, 5):
            count = len({k.split(".")[1] for k in self.weights if k.startswith(f"layer{stage}.")})
            for i in range(count):
                xs = self.block(xs, f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1, fused=i == count - 1)
            yield xs

    def residual(self, xs, name, count):
        for i in range(1, count + 1):
            xs = [F.relu(x) for x in xs]
            ys = [F.relu(y) for y in self.conv(xs, f"{name}.0.{i}_conv")]
            ys = self.conv(ys, f"{name}.0.{i}_conv_relu_varout_dimred")
            xs = [x + y for x, y in zip(xs, ys, strict=True)]
        return xs

    def pooled(self, xs, name):
        top = xs
        for i in range(1, 5):
            top = self.conv([F.max_pool2d(t, 5, 1, 2) for t in top], f"{name}.0.{i}_outvar_dimred")
            xs = [x + t for x, t in zip(xs, top, strict=True)]
        return xs

    def upsampled(self, x, like):
        return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)

    def __call__(self, inputs):
        above = None
        for n, xs in enumerate(reversed(list(self.features(inputs))), start=1):
            xs = self.residual(self.conv(xs, f"p_ims1d2_outl{n}_dimred"), f"adapt_stage{n}_b", 2)
            if n > 1:
                xs = self.conv(xs, f"adapt_stage{n}_b2_joint_varout_dimred")
                xs = [x + self.upsampled(up, x) for x, up in zip(xs, above, strict=True)]
            xs = self.pooled([F.relu(x) for x in xs], f"mflow_conv_g{n}_pool")
            xs = self.residual(xs, f"mflow_conv_g{n}_b", 3)
            above = xs if n == 4 else self.conv(xs, f"mflow_conv_g{n}_b3_joint_varout_dimred")
        logits = self.conv(above, "clf_conv")
        alpha = self.weights["alpha"].softmax(0)
        return [*logits, alpha[0] * logits[0] + alpha[1] * logits[1]]
