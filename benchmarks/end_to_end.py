"""What a network takes from maps to class ids, and a training step, beside a plain loop over the modalities.

    OMP_NUM_THREADS=1 PYTHONPATH=benchmarks:. python benchmarks/end_to_end.py [--budget SECONDS]

Options choose cells: `--networks --sizes --modalities --subsets --what`. Cells that the JSON holds are not measured
again, so that a run can go on where another ended (`--again` measures them anew); the page is written from the JSON.

Ways of a cell, each in a process of its own with the same weights and maps; they take turns, a pass each, and the
first turn is not counted:

- plain: `benchmarks/plain.py`, the way that released code takes: modality by modality, slices, contiguous float32,
  every branch and the ensemble at full size, class ids of all. Training: its losses, backward, an update.
- kept: the same in a process that keeps its memory, which tells what the allocator alone gives (on CPUs).
- rgbx: `Predictor` on the same batch, all branches and the ensemble; training: `mode="loss"`, backward, an update. As
  in the commands of rgbx, the process keeps its memory (`rgbx.keep_memory`); the plain way leaves the allocator alone.
- ensemble: the same, of class ids of the ensemble alone.
- limit: the convolutions and linear layers that a pass of rgbx calls, each alone on maps of its sizes, in the memory
  format that is faster for it; with backward in training. What a network reaches is the time of these over its own.
  Layers of few channels, or depthwise, never come near the speed of a large convolution, whatever is around them;
  that speed is printed beside it.

Times are process CPU time and wall time, one thread; "above" is the peak of resident memory above what the process had
with the model built, which a process that keeps its memory ends with; "tensors" is the most that tensors of a pass take
at a time, whatever the allocator does. Of rgbx, passes more with clocks around its parts say where the time goes. On
CUDA times are of events, memory is what torch's allocator handed out, and there are three ways more, in bfloat16: as it
is, compiled, and (inference) as a graph.

Before a network is measured, both ways are compared in float64: logits and gradients. In a cell the class ids of
all ways may differ in one pixel of 10,000, where two classes are as good as equal.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import functools
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain import PlainNetwork
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import rgbx
from rgbx.fusion.asymmetric import AsymmetricExchange
from rgbx.models import MultimodalModel, Predictor, multimodal_segmentor

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "benchmarks" / "results"
NETWORKS: dict[str, dict[str, Any]] = {
    "R18-light": dict(backbone="resnet18"),
    "R50-light": dict(backbone="resnet50", decoder={"width": 256}),
    "R101-RefineNet": dict(backbone="resnet101", decoder="refinenet"),
    "Lite0": dict(backbone="tf_efficientnet_lite0"),
    "DINOv3-S": dict(backbone="vit_small_patch16_dinov3"),
}
MODALITIES = ("rgb", "depth", "thermal", "normal")
STATISTICS = {"thermal": {"mean": (25.0,), "std": (5.0,)}}
CLASSES = 40
SLIDING = (1024, 2048)  # by windows of 1024x1024
BARS = [  # what, network, size, measured, most or least
    ("inference", "R101-RefineNet", "480x640", "rgbx / plain", 0.65),
    ("inference", "R18-light", "480x640", "ensemble / plain", 0.5),
]
SHORT = 0.05  # seconds of a layer that is called twice
MOST_DIFFERENT = 1e-4  # share of pixels
WAYS = {"inference": ("plain", "kept", "rgbx", "ensemble", "limit"), "training": ("plain", "kept", "rgbx", "limit")}
PLAIN = ("plain", "kept")
ON_CUDA = {"inference": ("bf16", "compiled", "graph"), "training": ("bf16", "compiled")}
Cell = dict[str, Any]
Call = Callable[[], Any]


def build(cell: Cell) -> MultimodalModel:
    """The network with weights drawn; those of norms, too, and statistics, so that each of them counts."""
    torch.manual_seed(0)
    names = MODALITIES[: cell["modalities"]]
    known = {name: values for name, values in STATISTICS.items() if name in names}
    model = multimodal_segmentor(
        modalities=names, num_classes=CLASSES, statistics=known or None, **NETWORKS[cell["network"]]
    )
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.ndim <= 1):
            parameter.add_(0.1 * torch.randn_like(parameter))
        for layer in model.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_var is not None:
                layer.running_var.uniform_(0.5, 1.5)
            if isinstance(layer, nn.modules.dropout._DropoutNd):
                layer.p = 0.0  # the ways would draw differently
    return model.train(cell["what"] == "training").to(cell["device"])


def make_batch(cell: Cell) -> dict[str, Any]:
    """Noise of coarse patches for each modality [N, c, H, W], and labels."""
    generator = torch.Generator().manual_seed(1)
    count, (height, width) = cell["batch"], cell["size"]

    def noise(channels: int) -> Tensor:
        coarse = torch.rand(count, channels, height // 8 + 1, width // 8 + 1, generator=generator)
        return nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")

    maps = {
        "rgb": (255 * noise(3)).to(torch.uint8),
        "depth": 6 * noise(1),
        "thermal": 15 + 20 * noise(1),
        "normal": nn.functional.normalize(noise(3) - 0.5),
    }
    found: dict[str, Any] = {name: maps[name] for name in cell["present"]}
    found["label"] = torch.randint(0, CLASSES, (count, height, width), generator=generator)
    return found | {"sample_id": [str(i) for i in range(count)]}


def inference(way: str, cell: Cell, model: MultimodalModel, batch: Mapping[str, Any]) -> Call:
    """A pass that gives class ids uint8 [N, H, W] by name."""
    sliding = tuple(cell["size"]) == SLIDING
    if way in PLAIN:
        return functools.partial(PlainNetwork(model).predict, batch, sliding=sliding)
    protocol, dtype = "rgbx-sliding" if sliding else "rgbx", None if way in ("rgbx", "ensemble") else torch.bfloat16
    if way == "compiled":
        model.compile_network()
    if way == "graph":
        return graph(model, batch)
    predictor = Predictor(model, protocol, dtype=dtype, names=("ensemble",) if way == "ensemble" else None)
    maps = {name: x for name, x in batch.items() if name != "label"}

    def call() -> dict[str, Tensor]:
        found = [sample["prediction"] for sample in predictor(maps)]
        return {name: torch.stack([each[name] for each in found]) for name in found[0]}

    return call


@torch.no_grad()
def graph(model: MultimodalModel, batch: Mapping[str, Any]) -> Call:
    """A pass in bfloat16 that is captured once and replayed, with the ids of all names; maps lie on the device."""
    inputs = model.data_preprocessor(batch)["inputs"]

    def run() -> dict[str, Tensor]:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            (outputs,) = model.run(inputs).outputs.values()
        return {name: x.argmax(1).to(torch.uint8) for name, x in outputs.items()}

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        found = run()

    def replay() -> dict[str, Tensor]:
        captured.replay()
        return found

    return replay


def training(way: str, cell: Cell, model: MultimodalModel, batch: Mapping[str, Any]) -> Call:
    """A step that gives its losses."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    dtype = torch.bfloat16 if way in ON_CUDA["training"] else None
    network = PlainNetwork(model) if way in PLAIN else None
    if way == "compiled":
        model.compile_network()

    def call() -> list[Tensor]:
        optimizer.zero_grad()
        if network is not None:
            losses = network.losses(batch)
        else:
            inputs = model.data_preprocessor(batch, training=True)
            with torch.autocast(cell["device"], dtype, enabled=dtype is not None):
                losses = list(model(**inputs, mode="loss").values())
        torch.stack(losses).sum().backward()
        optimizer.step()
        return [loss.detach() for loss in losses]

    return call


class Limit:
    """Every layer of a pass alone.

    Args:
        cell: what is measured.
        model: of which a pass says which layers are called, on which maps.
        batch: of that pass.
    """

    def __init__(self, cell: Cell, model: MultimodalModel, batch: Mapping[str, Any]) -> None:
        self.device, self.backward = cell["device"], cell["what"] == "training"
        self.layers: list[tuple[nn.Module, torch.Size, bool]] = []
        kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
        hooks = [m.register_forward_hook(self._note) for m in model.modules() if isinstance(m, kinds)]
        maps = {name: x for name, x in batch.items() if name != "label"}
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            if tuple(cell["size"]) == SLIDING:
                Predictor(model, "rgbx-sliding")(maps)
            else:
                model.run(model.data_preprocessor(maps)["inputs"])
        self.flops = counter.get_total_flops() * (3 if self.backward else 1)
        for hook in hooks:
            hook.remove()
        self.formats: list[torch.memory_format] = []
        self.large = nn.Conv2d(256, 256, 3, padding=1, bias=False).to(self.device)
        self.speeds: list[float] = []

    def _note(self, layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        self.layers.append((layer, inputs[0].shape, not self.layers))

    def __call__(self) -> float:
        """Seconds of all layers together."""
        if not self.formats:
            for layer in self.layers:
                taken = {f: self._seconds(*layer, f) for f in (torch.channels_last, torch.contiguous_format)}
                self.formats.append(min(taken, key=lambda f: taken[f]))
        total = sum(self._seconds(*each, f) for each, f in zip(self.layers, self.formats, strict=True))
        shape = torch.Size((2, 256, 64, 64))
        seconds = self._seconds(self.large, shape, True, torch.channels_last, backward=False)
        self.speeds.append(2 * 2 * 64 * 64 * 256 * 256 * 9 / seconds)
        return total

    def _seconds(
        self,
        layer: nn.Module,
        shape: torch.Size,
        first: bool,
        form: torch.memory_format,
        *,
        backward: bool | None = None,
    ) -> float:
        """Of a pass; of a short one, the faster of two."""
        backward = self.backward if backward is None else backward
        layer = copy.deepcopy(layer).to(memory_format=form)  # type: ignore[call-overload]
        x = torch.rand(shape, device=self.device)
        x = x.contiguous(memory_format=form) if x.ndim == 4 else x
        x.requires_grad_(backward and not first)
        wanted = [t for t in (x, *layer.parameters()) if t.requires_grad]
        with torch.set_grad_enabled(backward):
            above = torch.rand_like(layer(x)) if backward else None

            def call() -> None:
                y = layer(x)
                if above is not None:
                    torch.autograd.grad(y, wanted, above)

            taken = [measured(call, self.device)["cost"]]
            if taken[0] < SHORT:
                taken.append(measured(call, self.device)["cost"])
            return min(taken)


def measured(call: Call, device: str) -> dict[str, float]:
    """Seconds of CPU and of the clock, page faults, and "cost": what counts, of events on CUDA."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    if device == "cuda":
        torch.cuda.synchronize()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    if device == "cuda":
        after.record()
        torch.cuda.synchronize()
    found = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    found["faults"] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    found["cost"] = before.elapsed_time(after) / 1000 if device == "cuda" else found["cpu"]
    return found


@contextmanager
def clocked(model: MultimodalModel, seconds: dict[str, float], device: str) -> Iterator[None]:
    """Adds up the seconds of parts of a pass of rgbx, by the CPU's clock, or on CUDA the wall's after waiting."""

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def around(owner: Any, name: str, part: str) -> None:
        plain = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            start = now()
            found = plain(*given, **named)
            seconds[part] = seconds.get(part, 0.0) + now() - start
            return found

        setattr(owner, name, call)
        undo.append(lambda: setattr(owner, name, plain) if isinstance(owner, type) else delattr(owner, name))

    undo: list[Callable[[], None]] = []
    (head,) = (head for _, head in model.named_heads())
    around(model.data_preprocessor, "forward", "preprocess")
    around(model, "run", "run")
    around(model.backbone, "forward", "backbone")
    around(head.decoder, "forward", "decoder")
    for name in ("shuffle", "shift_and_shuffle") if len(model.modalities) > 1 else ():
        around(AsymmetricExchange, name, f"fusion.{name}")
    backbone: Any = model.backbone
    network, begun = backbone.network, [0.0]
    first = next((m for name, m in network.named_modules() if name in ("layer1", "blocks.0", "model.blocks.0")), None)
    if first is not None:
        enter = network.register_forward_pre_hook(lambda *_: begun.__setitem__(0, now()))

        def leave(*_: object) -> None:
            seconds["stem"] = seconds.get("stem", 0.0) + now() - begun[0]

        gone = first.register_forward_pre_hook(leave)
        undo += [enter.remove, gone.remove]
    try:
        yield
    finally:
        for each in undo:
            each()


def parts_of(call: Call, model: MultimodalModel, device: str) -> dict[str, float]:
    """Shares of a pass of rgbx by part."""
    found: list[dict[str, float]] = []
    for _ in range(3):
        seconds: dict[str, float] = {}
        with clocked(model, seconds, device):
            seconds["whole"] = measured(call, device)["cost" if device == "cpu" else "wall"]
        fusion = seconds.get("fusion.shift_and_shuffle", 0.0)
        fusion += seconds.get("fusion.shuffle", 0.0)
        backbone = seconds["backbone"] - seconds.get("stem", 0.0) - fusion
        inside = seconds["run"] - seconds["backbone"] - seconds["decoder"]
        outside = seconds["whole"] - seconds["run"] - seconds["preprocess"]
        parts = {
            "preprocess": seconds["preprocess"],
            "stem": seconds.get("stem", 0.0),
            "backbone": backbone,
            "fusion": fusion,
            "decoder": seconds["decoder"],
            "ensemble, upsampling": inside,
            "losses, backward, update" if model.training else "finish": outside,
        }
        found.append({name: x / seconds["whole"] for name, x in parts.items()})
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def peak(device: str) -> float:
    """Most memory so far, MB: resident, or handed out on CUDA."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def most_tensors(call: Call) -> float:
    """Most that the tensors of a pass take at a time, above those that were there before, MB."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        call()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))) / 1e6


def work(way: str, cell: Cell, answers: str) -> None:
    """One way in this process: a pass for every line that is read, whose figures are written, as JSON."""
    torch.set_num_threads(1)
    if way != "plain":
        rgbx.keep_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model, batch = build(cell), make_batch(cell)
    start = torch.cuda.memory_allocated() / 1e6 if cell["device"] == "cuda" else resident()
    limit = Limit(cell, model, batch) if way == "limit" else None
    make = training if cell["what"] == "training" else inference
    call = limit if limit is not None else make(way, cell, model, batch)
    held: list[Any] = []
    for line in sys.stdin:
        if line.strip() == "end":
            break
        figures = measured(lambda: held.__setitem__(slice(None), [call()]), cell["device"])
        if limit is not None:
            figures["cpu"] = figures["cost"] = held[0]
        print(json.dumps(figures), flush=True)
    found: dict[str, Any] = {"start_mb": start, "peak_mb": peak(cell["device"])}
    if limit is not None:
        found |= {"flops": limit.flops, "large": statistics.median(limit.speeds), "layers": len(limit.layers)}
        found["channels_last"] = sum(form == torch.channels_last for form in limit.formats)
    elif cell["what"] == "inference":
        np.savez(answers, **{name: x.cpu().numpy() for name, x in held[0].items()})
    else:
        np.savez(answers, losses=torch.stack(held[0]).cpu().numpy())
    if cell["device"] == "cpu" and way != "limit":
        found["tensors_mb"] = most_tensors(call)
    if way in ("rgbx", "ensemble"):
        found["parts"] = parts_of(call, model, cell["device"])
    print(json.dumps(found), flush=True)


def resident() -> float:
    """Memory of this process now, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


class Worker:
    """A process that measures one way."""

    def __init__(self, way: str, cell: Cell, folder: str) -> None:
        self.answers = str(Path(folder, f"{way}.npz"))
        command = [sys.executable, __file__, "--work", way, json.dumps(cell), self.answers]
        pipes: dict[str, Any] = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes)

    def ask(self, word: str) -> dict[str, Any]:
        """What the process says to a word.

        Raises:
            RuntimeError: it ended.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        print(word, file=self.process.stdin, flush=True)
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"a process ended, that of {self.answers}")
        return dict(json.loads(line))


def measure(cell: Cell, repeats: int, longest: float) -> dict[str, Any]:
    """All ways of a cell, which take turns; fewer turns than asked for where they take long."""
    ways = WAYS[cell["what"]] + (ON_CUDA[cell["what"]] if cell["device"] == "cuda" else ())
    left_out = {"graph"} if tuple(cell["size"]) == SLIDING else set()
    left_out |= {"kept"} if cell["device"] == "cuda" else set()
    ways = tuple(way for way in ways if way not in left_out)
    turns: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        workers = {way: Worker(way, cell, folder) for way in ways}
        try:
            start = time.perf_counter()
            for turn in range(repeats + 1):
                for way, worker in workers.items():
                    figures = worker.ask("go")
                    if turn:
                        turns[way].append(figures)
                if turn >= 2 and (turn + 1) / turn * (time.perf_counter() - start) > longest:
                    break
            found: dict[str, Any] = {way: worker.ask("end") for way, worker in workers.items()}
        finally:
            for worker in workers.values():
                worker.process.kill()
                worker.process.wait()
        for way, own in turns.items():
            found[way] |= {key: [each[key] for each in own] for key in own[0]}
        answers = {way: dict(np.load(w.answers)) for way, w in workers.items() if way != "limit"}
    return {"cell": cell, "ways": found, "different": compare(cell, answers)}


def compare(cell: Cell, answers: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    """How far each way is from the plain one: the share of pixels of another class, or the largest share of a loss.

    Raises:
        SystemExit: it is another answer; bfloat16 is not judged.
    """
    found = {}
    plain = answers.pop("plain")
    for way, own in answers.items():
        if cell["what"] == "inference":
            found[way] = max(float((x != plain[name]).mean()) for name, x in own.items())
        else:
            found[way] = float(np.abs(own["losses"] / plain["losses"] - 1).max())
        if found[way] > MOST_DIFFERENT and way in ("rgbx", "ensemble"):
            raise SystemExit(f"{title(cell)}: {way} differs from the plain way by {found[way]:.2g}")
    return found


def check(network: str) -> None:
    """Compares both ways in float64, where nothing is left to rounding.

    Raises:
        SystemExit: logits or gradients differ.
    """
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    count = 3
    cell: Cell = dict(network=network, size=(96, 128), modalities=count, what="training", batch=2, device="cpu")
    cell["present"] = MODALITIES[:count]
    own = build(cell).double()
    batch = {
        name: x.float() if isinstance(x, Tensor) and x.is_floating_point() else x
        for name, x in make_batch(cell).items()
    }
    other = PlainNetwork(copy.deepcopy(own))
    torch.stack(list(own(**own.data_preprocessor(batch, training=True), mode="loss").values())).sum().backward()
    torch.stack(other.losses(batch)).sum().backward()
    pairs = zip(own.parameters(), other.model.parameters(), strict=True)
    a, b = (torch.cat([p.grad.flatten() for p in each if p.grad is not None]) for each in zip(*pairs, strict=True))
    gradients = float((a - b).norm() / b.norm())
    with torch.no_grad():
        outputs = own.eval()(own.data_preprocessor(batch)["inputs"])
        other.model.eval()
        plain = other.logits(other.normalised(batch), (96, 128))
        logits = max(float((outputs[name] - x).abs().max() / x.abs().max()) for name, x in plain.items())
    print(f"{network}: in float64, logits differ by {logits:.1e}, gradients by {gradients:.1e}", flush=True)
    if logits > 1e-5 or gradients > 1e-5:
        raise SystemExit(f"{network}: the ways differ")


def cells_of(arguments: argparse.Namespace) -> list[Cell]:
    """Those that are asked for, in the order of the options."""
    found = []
    for size, what, network in itertools.product(arguments.sizes, arguments.what, arguments.networks):
        if size == SLIDING and what == "training":
            continue
        for count in arguments.modalities:
            names = MODALITIES[:count]
            subsets = [names]
            if arguments.subsets and what == "inference":
                subsets = [s for n in range(1, count + 1) for s in itertools.combinations(names, n)]
            for present in subsets:
                batch = arguments.batch if what == "training" else 1
                cell: Cell = dict(network=network, size=size, what=what, modalities=count, present=present, batch=batch)
                found.append(cell | {"device": arguments.device})
    return found


def title(cell: Cell) -> str:
    """A cell's key."""
    height, width = cell["size"]
    names = ", ".join(cell["present"])
    form = f"{height}x{width} batch {cell['batch']} of {cell['modalities']}"
    return f"{cell['device']} {cell['what']} {cell['network']} {form}: {names}"


def ratios(found: dict[str, Any], over: str, under: str) -> list[float]:
    """Cost of one way over another's, of each turn."""
    return [a / b for a, b in zip(found["ways"][over]["cost"], found["ways"][under]["cost"], strict=True)]


def spread(values: Sequence[float], form: str = "{:.3f}") -> str:
    """Median and range."""
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}..{form.format(max(values))})"


def page(found: dict[str, Any]) -> list[str]:
    """The lines of a Markdown page."""
    lines = [
        "# End to end",
        "",
        f"{found['machine']}. How: `benchmarks/end_to_end.py`, whose first lines say what the ways are. Times are the "
        "medians of passes in turn, in seconds; ratios are medians and ranges over the turns.",
    ]
    for what in ("inference", "training"):
        own = [each for each in found["cells"].values() if each["cell"]["what"] == what]
        whole = [each for each in own if len(each["cell"]["present"]) == each["cell"]["modalities"]]
        some = [each for each in own if len(each["cell"]["present"]) < each["cell"]["modalities"]]
        for heading, rows in ((what.capitalize(), whole), (f"{what.capitalize()} of subsets", some)):
            if rows:
                lines += ["", f"## {heading}", "", *table(rows, what)]
    lines += ["", "## Where the time of rgbx goes", "", *parts_table(found["cells"].values())]
    lines += ["", "## Bars", "", *bars(found["cells"].values())]
    return lines


def table(rows: Sequence[dict[str, Any]], what: str) -> list[str]:
    """A line for each cell."""
    others = [
        way
        for way in (*WAYS[what], *ON_CUDA[what])
        if way not in ("plain", "limit") and any(way in r["ways"] for r in rows)
    ]
    head = ["network", "size", "modalities", "GFLOP", "plain", *others]
    head += [f"{way} / plain" for way in others] + ["share of limit", "GFLOP/s (large)", "images/s", "wall"]
    head += ["peak MB, above: plain", "rgbx", "tensors MB: plain", "rgbx", "page faults: plain", "rgbx"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cell, ways = row["cell"], row["ways"]
        best = "ensemble" if what == "inference" else "rgbx"
        seconds = {way: statistics.median(ways[way]["cost"]) for way in ways}
        height, width = cell["size"]
        words = [cell["network"], f"{height}x{width}" + (f", {cell['batch']}" if what == "training" else "")]
        words += [", ".join(cell["present"]), f"{ways['limit']['flops'] / 1e9:.1f}", f"{seconds['plain']:.3f}"]
        words += [f"{seconds[way]:.3f}" if way in ways else "" for way in others]
        words += [spread(ratios(row, way, "plain")) if way in ways else "" for way in others]
        words += [spread(ratios(row, "limit", best), "{:.2f}")]
        words += [f"{ways['limit']['flops'] / 1e9 / seconds[best]:.1f} ({ways['limit']['large'] / 1e9:.1f})"]
        words += [f"{cell['batch'] / seconds[best]:.2f}", f"{statistics.median(ways[best]['wall']):.3f}"]
        words += [
            f"{ways[w]['peak_mb']:.0f}, {ways[w]['peak_mb'] - ways[w]['start_mb']:.0f}" for w in ("plain", "rgbx")
        ]
        words += [f"{ways[w]['tensors_mb']:.0f}" if "tensors_mb" in ways[w] else "" for w in ("plain", "rgbx")]
        words += [f"{statistics.median(ways[w]['faults']):.0f}" for w in ("plain", "rgbx")]
        lines.append("| " + " | ".join(words) + " |")
    return lines


def parts_table(rows: Any) -> list[str]:
    """Shares of each part."""
    names = ["preprocess", "stem", "backbone", "fusion", "decoder", "ensemble, upsampling", "finish"]
    names += ["losses, backward, update"]
    lines = ["| cell | way | " + " | ".join(names) + " |", "|---|---" + "|---" * len(names) + "|"]
    for row in rows:
        for way, own in row["ways"].items():
            if "parts" in own:
                shares = [f"{100 * own['parts'][name]:.1f} %" if name in own["parts"] else "" for name in names]
                lines.append(f"| {title(row['cell'])} | {way} | " + " | ".join(shares) + " |")
    return lines


def bars(rows: Any) -> list[str]:
    """What is reached of what was asked for."""
    lines = ["| bar | cell | reached | kept |", "|---|---|---|---|"]

    def add(bar: str, row: dict[str, Any], value: float, kept: bool) -> None:
        lines.append(f"| {bar} | {title(row['cell'])} | {value:.3f} | {'yes' if kept else 'no'} |")

    for row in rows:
        cell, ways = row["cell"], row["ways"]
        if len(cell["present"]) != cell["modalities"]:
            continue
        size = "{}x{}".format(*cell["size"])
        for what, network, asked, pair, most in BARS:
            if (cell["what"], cell["network"], size) == (what, network, asked):
                value = statistics.median(ratios(row, *pair.split(" / ")))
                add(f"{pair} <= {most}", row, value, value <= most)
        way, least = ("ensemble", 0.75) if cell["what"] == "inference" else ("rgbx", 0.6)
        value = statistics.median(ratios(row, "limit", way))
        add(f"share of the limit >= {least}", row, value, value >= least)
        if cell["what"] == "training":
            value = statistics.median(ratios(row, "rgbx", "plain"))
            add("rgbx / plain <= 0.65", row, value, value <= 0.65)
            above = [ways[w]["peak_mb"] - ways[w]["start_mb"] for w in ("rgbx", "plain")]
            add("memory above the model, rgbx / plain <= 0.7", row, above[0] / above[1], above[0] <= 0.7 * above[1])
            if "tensors_mb" in ways["plain"]:
                value = ways["rgbx"]["tensors_mb"] / ways["plain"]["tensors_mb"]
                add("tensors, rgbx / plain <= 0.7", row, value, value <= 0.7)
    return lines


def machine(device: str) -> str:
    """Words for the page."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return (
        f"{name}, {os.cpu_count()} cores, one thread; Python {platform.python_version()}, torch {torch.__version__}, "
        f"{datetime.date.today()}"
    )


def processor() -> str:
    """Its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def size_of(text: str) -> tuple[int, int]:
    """Height and width of HxW."""
    height, width = text.split("x")
    return int(height), int(width)


def arguments_of() -> argparse.Namespace:
    """Those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--sizes", nargs="+", type=size_of, default=[(240, 320), (480, 640), SLIDING], metavar="HxW")
    parser.add_argument("--modalities", nargs="+", type=int, default=[2], choices=range(1, 5), help="how many")
    parser.add_argument("--subsets", action="store_true", help="every subset of them, too (inference)")
    parser.add_argument("--what", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--batch", type=int, default=2, help="images of a training step")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--longest", type=float, default=180, help="seconds of a cell, where three turns take less")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no cell begins")
    parser.add_argument("--again", action="store_true", help="measure cells that the JSON holds")
    parser.add_argument("--json", type=Path, default=PLACE / "end_to_end.json")
    parser.add_argument("--page", type=Path, default=PLACE / "end_to_end.md")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--check", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measures what is missing, writes."""
    arguments = arguments_of()
    if arguments.work:
        way, cell, answers = arguments.work
        work(way, json.loads(cell), answers)
        return
    if arguments.check:
        check(arguments.check)
        return
    start = time.perf_counter()
    found: dict[str, Any] = {"cells": {}}
    if arguments.json.is_file():
        found = json.loads(arguments.json.read_text())
    found["machine"] = machine(arguments.device)
    missing = [cell for cell in cells_of(arguments) if arguments.again or title(cell) not in found["cells"]]
    for network in dict.fromkeys(cell["network"] for cell in missing):
        subprocess.run([sys.executable, __file__, "--check", network], check=True)
    for cell in missing:
        if time.perf_counter() - start > arguments.budget:
            print(f"the budget is spent; left out: {title(cell)}")
            continue
        one = measure(cell, arguments.repeats, arguments.longest)
        found["cells"][title(cell)] = one
        for way in (way for way in one["ways"] if way != "plain"):
            print(f"{title(cell)}: {way} / plain {spread(ratios(one, way, 'plain'))}", flush=True)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    arguments.page.write_text("\n".join(page(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
