"""mmengine's runner for epochs that can be resumed, on GPUs and on the CPU."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import mmengine.runner
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import DATASETS
from mmengine.visualization import LocalVisBackend, Visualizer
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from rgbx._lock import locked
from rgbx._runs import find_intact
from rgbx._torchvision import ensure_torchvision
from rgbx._types import Batch, Options
from rgbx._whole import remove_left
from rgbx.backbones import trusting
from rgbx.datasets import EpochSampler
from rgbx.datasets.cache import keep_if_small
from rgbx.datasets.class_weights import resolve_class_weights
from rgbx.datasets.collation import Collation, WorkerStart, end_workers
from rgbx.evaluate.metric import Metrics
from rgbx.layers import synchronise_norms
from rgbx.models import MultimodalModel
from rgbx.train.agreement import check_agreement, data_statements, run_statements
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.console import progress, shorten_console, show_control_characters, tell_full_disks_once
from rgbx.train.data_check import (
    check_classes,
    check_damage,
    check_labels,
    check_maps,
    check_measured,
    check_norms,
    check_sampler,
    check_sizes,
    check_synchronised,
    look_at,
)
from rgbx.train.distributed import BufferSyncHook, join_processes, unwrap, wrap
from rgbx.train.loops import TrainLoop, ValidationLoop, build_metrics
from rgbx.train.numerics import Average, build_guard
from rgbx.train.resumable import ResumableRunner
from rgbx.train.seeding import EpochSeedHook
from rgbx.train.stopping import TrainingStopped
from rgbx.train.visualizer import LateVisualizer

CLASS_COUNTS = "class_counts.json"  # in a work directory: the pixels of each class in the training labels

ensure_torchvision()  # mmengine imports it to log its version


class Runner(ResumableRunner):
    """Trains by epochs, on one device or in several processes.

    What differs from mmengine, besides checkpoints (`ResumableRunner`): processes without a GPU
    talk through gloo, runs share no state through their names, the seed is 0 unless given, and the
    config's switches `cache`, `compile`, `ema`, `on_nonfinite` and `sync_norm`.
    """

    _timestamps: ClassVar[set[str]] = set()
    _timestamp: str
    began = False  # whether it has come to its first step
    _train_loop: Any
    _train_dataloader: Any
    _val_loop: Any

    @classmethod
    def from_cfg(cls, cfg: Any) -> Runner:
        """Builds a runner from a config, or from a dict that may hold classes and objects.

        Class weights that the model's loss names by a method become numbers in the config: the training labels are
        counted, once per work directory.
        """
        if not isinstance(cfg, Config):  # mmengine's formatter fails on what is not source code
            cfg = Config(dict(cfg), format_python_code=False)
        model, loader = cfg.get("model"), cfg.get("train_dataloader")
        if isinstance(model, dict) and isinstance(loader, dict):
            resolve_class_weights(model, loader["dataset"], cache=Path(cfg.work_dir, CLASS_COUNTS))
        with trusting(bool(cfg.get("trust_checkpoint", False))):
            return super().from_cfg(cfg)

    def dump_config(self) -> None:
        """Keeps the config in the work directory, but never over the file that it was read from."""
        source = Path(self.cfg.filename) if self.cfg.filename else None
        if source is None or source.resolve() != Path(self.work_dir, source.name).resolve():
            super().dump_config()

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Joins the process group; makes the timestamp unique, as mmengine keys state by it.

        Raises:
            ValueError: the processes of the group have other configs, versions or checkpoints.
        """
        if self.distributed:
            join_processes()
        super().setup_env(env_cfg)
        if self.distributed:
            start = self.cfg.get("load_from") or (find_intact(self.work_dir) if self.cfg.get("resume") else None)
            check_agreement("what they train by", run_statements(self.cfg, Path(start) if start else None))
        base, count = self._timestamp, 1
        while self._timestamp in self._timestamps:
            count += 1
            self._timestamp = f"{base}_{count}"
        self._timestamps.add(self._timestamp)

    def set_randomness(
        self, seed: int | None = None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seeds everything; the seed is 0 unless given.

        Raises:
            ValueError: `diff_rank_seed`, with which processes would draw different subsets of modalities.
        """
        if diff_rank_seed:
            raise ValueError(
                "randomness.diff_rank_seed=True is not supported: all processes must draw the same modalities, "
                "and every epoch's other random numbers already differ between them"
            )
        if deterministic:  # cuBLAS reads this when it starts
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        super().set_randomness(0 if seed is None else seed, False, deterministic)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        shorten_console(logger)
        tell_full_disks_once(logger)
        show_control_characters(logger)
        own = logging.getLogger("rgbx")  # what evaluations print
        own.handlers, own.propagate = list(logger.handlers), False
        own.setLevel(logging.DEBUG)  # the handlers choose
        return logger

    def build_visualizer(self, visualizer: Visualizer | Options | None = None) -> Visualizer:
        """mmengine's own class of visualizer does without matplotlib until it draws."""
        if visualizer is None:
            visualizer = {"type": Visualizer, "vis_backends": [{"type": LocalVisBackend}]}
        if isinstance(visualizer, dict) and visualizer.get("type") in (Visualizer, "Visualizer"):
            visualizer = {**visualizer, "type": LateVisualizer}
        return super().build_visualizer(visualizer)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Moves the model to its device and, with several processes, wraps it for them.

        Raises:
            ValueError: the config names a `device` for several processes.
        """
        asked = self.cfg.get("device") or "auto"
        if asked != "auto" and self.distributed:
            raise ValueError(f"device is {asked!r}, but several processes train: expected 'auto', a GPU for each")
        if asked != "auto" and not is_model_wrapper(model):
            device = torch.device(asked)
            if device.type == "cuda":  # also for what asks for the current one
                torch.cuda.set_device(device.index or 0)
            return model.to(device)
        if not self.distributed or model_wrapper_cfg is not None or is_model_wrapper(model):
            return super().wrap_model(model_wrapper_cfg, model)
        if self.synchronises:
            synchronise_norms(model)
        return wrap(unwrap(model))

    @property
    def synchronises(self) -> bool:
        """Whether batch norms are trained on the batches of all processes, as the config's `sync_norm` says."""
        return self.distributed and bool(self.cfg.get("sync_norm", True))

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """mmengine's default hooks, what rgbx needs beside them, an EMA where the config says so, and the guard."""
        own: dict[str, Any] = {"epoch_seed": {"type": EpochSeedHook}}
        if self.distributed:
            own["buffer_sync"] = {"type": BufferSyncHook}
        super().register_default_hooks({**own, **(hooks or {})})
        ema = self.cfg.get("ema", False)
        if ema is not None and ema is not False:
            self.register_hook(EMAHook(Average, **({} if ema is True else dict(ema))))
        self.guard = build_guard(self.cfg.get("on_nonfinite") or "stop")
        self.register_hook(self.guard)

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        built = super().build_optim_wrapper(optim_wrapper)
        for part in built.values() if isinstance(built, OptimWrapperDict) else (built,):
            if hasattr(part, "set_epoch_length"):
                part.set_epoch_length(len(self.train_dataloader))
        return built

    @staticmethod
    def build_dataloader(dataloader: Any, seed: int | None = None, diff_rank_seed: bool = False) -> DataLoader[Batch]:
        """Gives the loader a generator of its own, a collation that names samples which do not go together, and workers
        that end in silence.

        Starting workers draws a number, which persistent workers do once per process rather than
        once per epoch: from the global generator, a resumed run would be one draw ahead.
        """
        built = mmengine.runner.Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        if built.generator is None:
            built.generator = torch.Generator().manual_seed(seed or 0)
        if isinstance(built.sampler, EpochSampler):
            built.sampler.batch_size = built.batch_size or 1
        if not isinstance(built.collate_fn, Collation):
            built.collate_fn = Collation(built.collate_fn)
        if not isinstance(built.worker_init_fn, WorkerStart):
            built.worker_init_fn = WorkerStart(built.worker_init_fn)
        return built

    def prepare_training(self) -> None:
        """Builds datasets and loops, so that what is wrong with them shows before anything runs.

        Raises:
            ValueError: data that the model does not take, or that do not go into batches.
        """
        loops = {"train_dataloader": self.train_loop, "val_dataloader": self.val_loop}
        for loop in filter(None, loops.values()):
            self.check_classes(loop.dataloader.dataset)
        model, loader = self.network, self.train_loop.dataloader
        check_sampler(loader)
        warnings = check_maps(model, loader.dataset)
        samples = {name: look_at(loop.dataloader.dataset) for name, loop in loops.items() if loop is not None}
        for name, found in samples.items():
            check_sizes(loops[name].dataloader, found, name)
        check_norms(model, loader, samples["train_dataloader"])
        check_damage(model, samples["train_dataloader"])
        if self.val_loop is not None:
            for hook in [hook for hook in self.hooks if isinstance(hook, CheckpointHook)]:
                hook.check_metric(model.tasks, self.val_loop.dataloader.dataset.metainfo)
        if not self.keeps_scalars:
            warnings.append("visualizer.vis_backends lacks LocalVisBackend: no scalars are kept, no curves.png drawn")
        seen, counts = samples["train_dataloader"], Path(self.work_dir, CLASS_COUNTS)
        warnings += check_labels(model, loader.dataset, seen, cache=counts)
        warnings += check_synchronised(model, loader.batch_size or 1, self.world_size)
        for warning in [*warnings, *check_measured(model, loader.dataset, seen)]:
            self.logger.warning(warning)

    @property
    def keeps_scalars(self) -> bool:
        """Whether there will be something to draw curves of."""
        return any(isinstance(backend, LocalVisBackend) for backend in self.visualizer._vis_backends.values())

    def check_classes(self, dataset: Dataset[Batch]) -> None:
        """Refuses a dataset of other classes than the model's."""
        check_classes(self.network, dataset)

    def use_model(self, model: MultimodalModel) -> None:
        """Takes another model in place of the config's, such as a checkpoint's to evaluate."""
        self.model = model.to(next(self.network.parameters()).device)

    @staticmethod
    def build_metrics(evaluator: Metrics | dict[str, Any]) -> Metrics:
        """What an evaluator of the config counts."""
        return build_metrics(evaluator)

    def watch(self, title: str) -> Callable[[Iterable[Batch]], Iterable[Batch]]:
        """What shows how far a loop over batches is, for `rgbx.evaluate.Session`."""
        return functools.partial(progress, title=title)

    def build_train_loop(self, loop: Any) -> mmengine.runner.BaseLoop:
        """Builds the epoch loop.

        Raises:
            ValueError: another kind of loop, or not even one batch.
        """
        if isinstance(loop, dict) and not loop.get("by_epoch", "type" in loop):
            raise ValueError(
                "train_cfg must say by_epoch=True: rgbx trains by epochs, as only "
                "epoch boundaries can be resumed exactly"
            )
        if isinstance(loop, dict) and "type" not in loop:
            loop = {"type": TrainLoop, **{key: value for key, value in loop.items() if key != "by_epoch"}}
        if isinstance(loop, dict) and isinstance(self._train_dataloader, dict):
            self._train_dataloader = self._keeping_frames(self._train_dataloader, loop.get("max_epochs", 1))
        built = super().build_train_loop(loop)
        if len(built.dataloader) == 0:
            raise ValueError(
                f"an epoch has no batch: the {len(built.dataloader.dataset)} training "
                f"samples do not fill one batch of {built.dataloader.batch_size} and "
                "drop_last=True"
            )
        return built

    def _keeping_frames(self, loader: Options, epochs: int) -> dict[str, Any]:
        """A loader's config, whose dataset keeps its decoded frames where the config's `cache` is "auto" and they are
        few enough to be read more than once.
        """
        if epochs < 2 or (self.cfg.get("cache") or "auto") != "auto":
            return dict(loader)
        dataset = DATASETS.build(loader["dataset"]) if isinstance(loader["dataset"], dict) else loader["dataset"]
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if self.distributed else 1
        keeping = keep_if_small(dataset, workers=loader.get("num_workers", 0), processes=processes)
        if keeping.kept:
            self.logger.info(f"Decoded frames stay in memory (cache = 'none' reads files each time): {keeping.reason}.")
        return {**loader, "dataset": keeping.dataset}

    def build_val_loop(self, loop: Any) -> mmengine.runner.BaseLoop:
        """Builds the validation loop, by default the one that follows a protocol."""
        if isinstance(loop, dict) and "type" not in loop:
            loop = {"type": ValidationLoop, **loop}
        return super().build_val_loop(loop)

    def train(self) -> nn.Module:
        """Trains to the end; returns the model.

        mmengine's method, but for what it asks of models. No other training may be at work in the work directory.

        Raises:
            ValueError: the config has nothing to train, or another training is at work there.
            TrainingStopped: SIGTERM, SIGHUP or SIGUSR1 asked it to end; its state is saved.
        """
        if self._train_loop is None:
            raise ValueError("the config has nothing to train: it lacks train_dataloader, train_cfg and optim_wrapper")
        if self.rank:
            return self._train()
        with locked(Path(self.work_dir), "another training", alone=True):
            for part in remove_left(Path(self.work_dir)):
                self.logger.info(f"Removed {part}, which a process that was killed had left.")
            return self._train()

    def _train(self) -> nn.Module:
        self._train_loop = self.build_train_loop(self._train_loop)
        if getattr(self.train_loop.dataloader.dataset, "frame_sets", None) is not None:
            self.network.sees_subsets = True
            self.network.keep_subset_statistics()
            if type(self.model) is DistributedDataParallel:  # made before it could be known
                self.model = wrap(self.network)
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        self.scale_lr(self.optim_wrapper, self.auto_scale_lr)
        if self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
        if self._val_loop is not None:
            self._val_loop = self.build_val_loop(self._val_loop)
        loops = {"train_dataloader": self._train_loop, "val_dataloader": self._val_loop}
        datasets = {name: loop.dataloader.dataset for name, loop in loops.items() if loop is not None}
        check_agreement("their data", data_statements(datasets))
        self.call_hook("before_run")
        self.load_or_resume()
        self.optim_wrapper.initialize_count_status(self.model, self.train_loop.iter, self.train_loop.max_iters)
        self._compile()
        self.began = True
        try:
            with self.stop_request.listening():
                model = self.train_loop.run()
        except TrainingStopped:
            self._end_workers()
            raise
        self.call_hook("after_run")
        self._end_workers()
        return model

    def _end_workers(self) -> None:
        for loop in filter(None, (self.train_loop, self.val_loop)):
            end_workers(loop.dataloader)

    def _compile(self) -> None:
        """Compiles the network where the config says `compile=True` or `compile=dict(...)`."""
        options = self.cfg.get("compile", False)
        if options is not None and options is not False:
            self.network.compile_network(**({} if options is True else dict(options)))
            self.logger.info("The network is compiled at its first batch, which takes a while.")
