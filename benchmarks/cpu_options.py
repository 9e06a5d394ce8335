"""What could make a network faster on a CPU: bfloat16, norms folded away, torch.compile.

    python benchmarks/cpu_options.py [--what bfloat16 norms compile] [--size HxW] [--repeats N]

R18-light, RGB and depth, one frame, one thread; variants in turn, medians of the process's CPU time. Norms folded into
convolutions can save at most what the network takes without them, which is what `norms` measures. Of `compile` the
first call is told as well, with the C++ compiler that it starts, and training steps.
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping

import torch

from rgbx.layers import ModalityNorm
from rgbx.models import MultimodalModel, Predictor, multimodal_segmentor

WHAT = ("bfloat16", "norms", "compile")


def network() -> MultimodalModel:
    """The network, with the same weights each time."""
    torch.manual_seed(0)
    return multimodal_segmentor(
        modalities=("rgb", "depth"),
        num_classes=40,
        backbone="resnet18",
        decoder={"name": "light"},
        statistics={"depth": {"mean": (3.85,), "std": (1.4,)}},
    ).eval()


def without_norms(model: MultimodalModel) -> MultimodalModel:
    """A copy whose private norms give what they read."""
    bare = copy.deepcopy(model)
    for module in bare.modules():
        if isinstance(module, ModalityNorm):
            vars(module)["forward"] = lambda x, *_, **__: x
    return bare


def spent() -> float:
    """CPU seconds of this process and of those that it started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def compare(title: str, calls: Mapping[str, Callable[[], object]], repeats: int) -> None:
    """Prints the first call and the median of later ones, the others' as a share of the first name's."""
    first, times = {}, {name: list[float]() for name in calls}
    for name, call in calls.items():
        begun = spent()
        call()
        first[name] = spent() - begun
    for _ in range(repeats):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            times[name].append(time.process_time() - begun)
    usual = statistics.median(next(iter(times.values())))
    for name, found in times.items():
        median = statistics.median(found)
        print(f"| {title} | {name} | {first[name]:.2f} | {1000 * median:.0f} | {median / usual:.3f} |", flush=True)


def training(model: MultimodalModel, batch: Mapping[str, torch.Tensor]) -> Callable[[], object]:
    """A training step."""
    optimizer = torch.optim.AdamW(model.train().parameters())

    def step() -> None:
        loss = sum(model(**model.data_preprocessor(batch, training=True), mode="loss").values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--size", default="240x320", metavar="HxW")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # nothing is compiled yet
    torch.set_num_threads(1)
    height, width = map(int, options.size.split("x"))
    maps = {
        "rgb": torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8),
        "depth": 0.1 + 6 * torch.rand(1, 1, height, width),
    }
    model = network()
    plain = Predictor(model)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {options.size}\n")
    print("| work | variant | first call, CPU s | later, CPU ms | ratio |\n|---|---|---:|---:|---:|")
    if "bfloat16" in options.what:
        half = Predictor(model, dtype=torch.bfloat16)
        compare("inference", {"float32": lambda: plain(maps), "bfloat16": lambda: half(maps)}, options.repeats)
    if "norms" in options.what:
        bare = Predictor(without_norms(model))
        compare("inference", {"norms": lambda: plain(maps), "no norms": lambda: bare(maps)}, options.repeats)
    if "compile" in options.what:
        compiled = network()
        compiled.compile_network()
        fast = Predictor(compiled)
        compare("inference", {"eager": lambda: plain(maps), "compiled": lambda: fast(maps)}, options.repeats)
        batch = {**maps, "label": torch.randint(0, 40, (1, height, width))}
        steps = {"eager": training(model, batch), "compiled": training(compiled, batch)}
        compare("training", steps, options.repeats)


if __name__ == "__main__":
    main()
