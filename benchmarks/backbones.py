"""Every family of timm's networks as a backbone of RGB and depth: built, run, without a sensor, trained, exported.

    python benchmarks/backbones.py --json benchmarks/results/backbones.json --markdown docs/backbones.md
    python benchmarks/backbones.py --json found.json --only swin_transformer eva=vit_small_patch16_dinov3 --size 256x320

Of each family, a module of timm, the smallest network is taken, or the one that is named. Each is tried in a process of
its own, that may fail or take too long without ending the others. What was tried is in the JSON file and is not tried
again: the same command goes on where it ended, and one without --skip does what an earlier one skipped.

What is tried: `built` with private norms and asymmetric fusion; `equal`: without fusion, the stack of both modalities
against two networks of timm's own with their norms, alone (the largest difference as a share of the largest value);
`runs` on a size and an odd one; `drops`: with depth alone; `trains`: a step, after which every norm of both modalities
has had a gradient; `exports`: traced for one size, the program against the model; `onnx`: the file, unless it is
skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import logging
import multiprocessing
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from rgbx.backbones import SharedBackbone
from rgbx.backbones._timm import timm
from rgbx.export.onnx import run_onnx, write_onnx
from rgbx.export.parity import Parity, synthetic
from rgbx.export.program import Deployed, described, trace
from rgbx.layers import ModalityNorm
from rgbx.models import MultimodalModel, multimodal_segmentor
from rgbx.tasks import Target

NAMES = ("rgb", "depth")
CLASSES = 5
LARGE = ("giant", "huge", "large", "enormous", "so400m", "so150m", "_7b", "base", "152", "200", "269", "300")
CLOSE = 5e-3  # in 32 bits
BEGUN, ENDED = "<!-- table -->", "<!-- end of table -->"


def smallest(family: str) -> str:
    """The network of a family with the fewest parameters; large ones are not even laid out where there are others."""
    names = timm.list_models(module=family)
    few = [name for name in names if not any(word in name for word in LARGE)] or names
    sizes = {}
    for name in few:
        with contextlib.suppress(Exception), torch.device("meta"):
            sizes[name] = sum(p.numel() for p in timm.create_model(name).parameters())
    return min(sizes, key=sizes.__getitem__) if sizes else names[0]


def maps(size: tuple[int, int], count: int = 1) -> dict[str, Tensor]:
    """Normalised maps [count, c, *size] of both modalities."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(count, channels, *size, generator=generator)
        for name, channels in zip(NAMES, (3, 1), strict=True)
    }


def alone(network: nn.Module, name: str) -> nn.Module:
    """A copy of timm's network with the norms of one modality in place of those of all."""
    found = copy.deepcopy(network)

    def restore(module: nn.Module) -> None:
        for key, child in module.named_children():
            if isinstance(child, ModalityNorm):
                setattr(module, key, child.norms[name])
            else:
                restore(child)

    restore(found)
    return found


class Trial:
    """The checks of one network, in their order; what they find goes into `found` at once."""

    def __init__(self, name: str, size: tuple[int, int]) -> None:
        self.name, self.size = name, size

    def checks(self) -> dict[str, Callable[[], Any]]:
        """The function of each, by its name."""
        first = {"built": self.built, "equal": self.equal, "runs": self.runs, "drops": self.drops}
        return {**first, "trains": self.trains, "exports": self.exports, "onnx": self.onnx_file}

    def built(self) -> dict[str, Any]:
        """What the network is."""
        torch.manual_seed(0)
        self.model: MultimodalModel = multimodal_segmentor(
            modalities=NAMES,
            num_classes=CLASSES,
            backbone=self.name,
            decoder={"name": "light", "width": 16, "dropout": 0.0},
        )
        backbone = self.model.backbone
        assert isinstance(backbone, SharedBackbone)
        anatomy = backbone.anatomy
        return {
            "million": round(sum(p.numel() for p in backbone.parameters()) / 1e6, 1),
            "strides": list(backbone.strides),
            "pyramid": backbone.pyramid is not None,
            "size": anatomy.size,
            "multiple": anatomy.multiple,
            "inside": sum(stage.output is not None for stage in anatomy.stages),
            "stages": len(anatomy.stages),
        }

    def equal(self) -> float:
        """The largest difference between a modality's part of the stack and a network of its own."""
        torch.manual_seed(0)
        backbone = SharedBackbone(self.name, NAMES).eval()
        with torch.no_grad():
            for path, parameter in backbone.named_parameters():
                if ".norms." in path:
                    parameter.add_(0.2 * torch.randn_like(parameter))
            height, width = (-(-side // backbone.multiple) * backbone.multiple for side in self.size)
            size = backbone.anatomy.read((height, width))
            seen = {name: x.expand(-1, 3, -1, -1) for name, x in maps(size).items()}
            with backbone.layout.holding(NAMES, size=size):
                stack = backbone.network(torch.cat(list(seen.values())))
            worst = 0.0
            for m, name in enumerate(NAMES):
                for x, y in zip(stack, alone(backbone.network, name)(seen[name]), strict=True):
                    worst = max(worst, float((x[m : m + 1] - y).abs().max() / y.abs().max()))
        if worst > CLOSE:
            raise ValueError(f"the stack differs from separate networks by {worst:.2g}")
        return worst

    def answer(self, names: tuple[str, ...], size: tuple[int, int]) -> Tensor:
        """The ensemble's logits, [1, K, *size], which must be finite."""
        with torch.no_grad():
            found = self.model.eval().outputs({name: maps(size)[name] for name in names})["labels"]["ensemble"]
        if found.shape != (1, CLASSES, *size) or not found.isfinite().all():
            raise ValueError(f"answered {list(found.shape)} of {size}")
        return found

    def runs(self) -> bool:
        """On the size, and one that nothing divides."""
        self.answer(NAMES, self.size)
        self.answer(NAMES, (self.size[0] - 7, self.size[1] + 13))
        return True

    def drops(self) -> bool:
        """With depth alone, which must not be what both say."""
        if torch.equal(self.answer(("depth",), self.size), self.answer(NAMES, self.size)):
            raise ValueError("depth alone says what both say")
        return True

    def trains(self) -> float:
        """The loss of a step, whose gradients reach every norm."""
        model = self.model.train()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        label = torch.randint(0, CLASSES, (2, *self.size), generator=torch.Generator().manual_seed(0))
        losses = model.forward(maps(self.size, 2), {"labels": Target(label)}, mode="loss")
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()
        network = ((k, p) for k, p in model.named_parameters() if k.startswith("backbone.network."))
        without = [k for k, p in network if ".norms." in k and p.grad is None]
        optimizer.step()
        if without or not loss.isfinite():
            raise ValueError(f"{len(without)} norms have no gradient, such as {without[:1]}")
        return float(loss)

    def exports(self) -> float:
        """The largest difference of class probabilities between program and model."""
        self.deployed = Deployed(self.model.eval(), NAMES, scores=True, size=self.size).eval()
        self.program = trace(self.deployed)
        generator = torch.Generator().manual_seed(2)
        given = [torch.randint(0, 256, (2, 3, *self.size), generator=generator, dtype=torch.uint8)]
        given.append(5 * torch.rand(2, 1, *self.size, generator=generator))
        with torch.no_grad():
            pairs = zip(self.program.module()(*given), self.deployed(*given), strict=True)
            worst = max(float((a.float() - b.float()).abs().max()) for a, b in pairs if a.dtype != torch.uint8)
        if worst > 1e-3:
            raise ValueError(f"the program differs from the model by {worst:.2g}")
        return worst

    def onnx_file(self) -> float:
        """The largest difference between an ONNX file and the model."""
        about = described(self.deployed, {"file": "none", "sha256": ""})
        with TemporaryDirectory() as folder:
            file = Path(folder, "model.onnx")
            write_onnx(self.program, file, about)
            parity, run = Parity(self.model, about), run_onnx(file, about, 1)
            for batch in synthetic(self.model, about):
                parity.see(batch, run)
        if failures := parity.failures():
            raise ValueError("; ".join(failures))
        return float(parity.as_dict("")["largest_difference"])


def tried(name: str, size: tuple[int, int], checks: list[str], out: Any) -> None:
    """Sends what each check finds, or the first line of what went wrong."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    trial = Trial(name, size)
    for check, function in trial.checks().items():
        if check not in checks and check != "built":
            continue
        began, found, wrong = time.process_time(), None, None
        try:
            found = function()
        except Exception as error:
            wrong = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        out.send((check, found, wrong, time.process_time() - began))
        if wrong is not None and check == "built":
            break
    out.close()


def in_process(name: str, size: tuple[int, int], checks: list[str], found: dict[str, Any], limit: float) -> None:
    """Adds what a process of its own found within seconds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=tried, args=(name, size, checks, theirs))
    process.start()
    theirs.close()
    wrongs = found["wrong"]
    end, left = time.monotonic() + limit, list(checks)
    try:
        while ours.poll(max(0.0, end - time.monotonic())):
            check, value, wrong, seconds = ours.recv()
            found["seconds"][check], found[check] = round(seconds, 1), value
            left = [each for each in left if each != check]
            wrongs.pop(check, None)
            if wrong is not None:
                wrongs[check] = wrong
        else:
            wrongs |= dict.fromkeys(left[:1], f"took more than {limit:.0f} s with those before")
    except EOFError:
        process.join()
        if process.exitcode:
            wrongs |= dict.fromkeys(left[:1], f"the process ended with {process.exitcode}")
    finally:
        process.kill()
        process.join()


CHECKED = ("runs", "drops", "trains", "exports")


def row(family: str, found: dict[str, Any]) -> list[str]:
    """A line of the table."""
    built = found.get("built") or {}
    passed = ["-" if check not in found else "no" if found[check] is None else "yes" for check in CHECKED]
    sees = "any" if not built.get("size") else "x".join(map(str, built["size"]))
    if built and built["multiple"] > max(built["strides"]):
        sees = f"multiples of {built['multiple']}"
    fused = f"{built['inside']} of {built['stages']}" if built else "-"
    strides = ", ".join(map(str, built.get("strides", ()))) + (" (pyramid)" if built.get("pyramid") else "")
    wrong = "; ".join(f"{check}: {text[:160]}" for check, text in found.get("wrong", {}).items())
    return [family, f"`{found['network']}`", str(built.get("million", "-")), strides, sees, fused, *passed, wrong]


HEADER = ["family", "network", "M params", "strides", "images", "fused inside"]
HEADER += ["runs", "drops", "trains", "exports", ""]


def markdown(results: dict[str, Any]) -> str:
    """The table and how many families pass all."""
    rows = [row(family, found) for family, found in sorted(results.items())]
    run = sum(cells[6:9] == ["yes"] * 3 for cells in rows)
    exported = [cells[9] for cells in rows if cells[9] != "-"]
    lines = [f"{run} of {len(rows)} families run, do without a sensor and train a step.", ""]
    lines[0] += f" {exported.count('yes')} of the {len(exported)} that were tried export." if exported else ""
    lines += ["| " + " | ".join(cells) + " |" for cells in (HEADER, ["---"] * len(HEADER), *rows)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Tries the families that the JSON file does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="the file that keeps what was found")
    parser.add_argument("--markdown", type=Path, help="a page whose table is written anew")
    parser.add_argument("--only", nargs="+", default=[], metavar="FAMILY[=NETWORK]")
    parser.add_argument("--size", default="96x128", metavar="HxW")
    parser.add_argument("--skip", nargs="*", default=["onnx"], metavar="CHECK", help="checks that are left out (onnx)")
    parser.add_argument("--limit", type=float, default=900, metavar="S", help="seconds for a network (900)")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="every Nth family, from the Kth")
    arguments = parser.parse_args()
    size = [int(side) for side in arguments.size.split("x")]
    results = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    wanted = [text.partition("=")[::2] for text in arguments.only or timm.list_modules()]
    first, _, step = arguments.part.partition("/")
    checks = [check for check in Trial("", (0, 0)).checks() if check not in arguments.skip]
    for family, network in wanted[int(first) - 1 :: int(step)]:
        known = results.get(family, {})
        left = [check for check in checks if check not in known and check not in known.get("wrong", {})]
        if not left or "built" in known.get("wrong", {}) or not timm.list_models(module=family):
            continue
        name = network or known.get("network") or smallest(family)
        found = results.setdefault(family, {"network": name, "image": size, "seconds": {}, "wrong": {}})
        in_process(name, (size[0], size[1]), left, found, arguments.limit)
        print(" | ".join(row(family, found)), flush=True)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    if arguments.markdown:
        page = arguments.markdown.read_text()
        begun, ended = page.index(BEGUN) + len(BEGUN), page.index(ENDED)
        arguments.markdown.write_text(page[:begun] + "\n" + markdown(results) + page[ended:])


if __name__ == "__main__":
    main()
