"""Saves checkpoints at epoch boundaries, and inside epochs where asked to, and keeps the best one.

mmengine's own hook stores absolute paths (so that resuming a copied directory deletes the
original's best checkpoint) and deletes old files before the new one is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from rgbx._runs import is_inside_epoch, resumable_in
from rgbx._text import nearest
from rgbx._types import Meta
from rgbx.evaluate.metric import headlines
from rgbx.evaluate.selection import SELECTED, selection
from rgbx.models.checkpoint import write_last
from rgbx.tasks import Task
from rgbx.train.distributed import unwrap
from rgbx.train.loops import ValidationLoop
from rgbx.train.optim import has_pending_gradients
from rgbx.train.stopping import TrainingStopped

FURTHER = dict.fromkeys(("boundary", "calibration", "fid", "lpips"), True)  # what evaluators measure where asked to
VALIDATED = "validated_epoch"  # in the message hub: the epoch that was validated last


class CheckpointHook(Hook):
    """Writes `epoch_N.pth` (resumable) and `best_<metric>_epoch_N.pth` (weights, and what chose them).

    `epoch_N.pth` is there before the validation of epoch N, and notes afterwards that it is done.
    A run that was interrupted in between validates first when it is resumed. Between the steps of an epoch
    `epoch_N_iter_I.pth` is written, after N epochs and I steps in all, and kept until a newer one or the epoch's is
    there.

    Args:
        interval: epochs between resumable checkpoints; the last epoch is always kept.
        step_interval: steps between those inside epochs; None for none, unless a signal asks the training to end.
            Where gradients are accumulated, the next step that updates the weights is awaited.
        max_keep_ckpts: how many resumable checkpoints stay; -1 keeps all.
        save_best: the metric that names the best checkpoint; "auto" for the headline of the model's first head, None
            for none.
        rule: whether "greater" or "less" is better; None for what the tasks of the model say of the metric.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        interval: int = 1,
        max_keep_ckpts: int = 2,
        save_best: str | None = "auto",
        rule: str | None = None,
        step_interval: int | None = None,
    ) -> None:
        if interval < 1 or max_keep_ckpts == 0 or rule not in ("greater", "less", None) or (step_interval or 1) < 1:
            raise ValueError(
                f"interval must be >= 1, max_keep_ckpts not 0, rule greater, less or None and step_interval >= 1 or "
                f"None, found {interval}, {max_keep_ckpts}, {rule!r} and {step_interval}"
            )
        self.interval = interval
        self.step_interval = step_interval
        self._due = False  # whether the state is to be saved once no gradient is pending
        self.max_keep_ckpts = max_keep_ckpts
        self.save_best = save_best
        self.rule = rule

    def check_metric(self, tasks: Mapping[str, Task], meta: Meta) -> None:
        """Refuses a `save_best` that no validation could give.

        Args:
            tasks: of the model's heads.
            meta: of the dataset that validates.

        Raises:
            ValueError: no head has such a score, whatever is measured.
        """
        names = {score.name for task in tasks.values() for score in task.table(meta, **FURTHER)}
        wanted = (self.save_best or "auto").rpartition("/")[2]
        if wanted not in names | {"auto"}:
            raise ValueError(
                f"save_best={self.save_best!r} is no score of the model's heads; they have "
                f"{', '.join(sorted(names))}{nearest(wanted, names)}"
            )

    def before_train(self, runner: Runner) -> None:
        """Makes up for a validation that an interruption prevented."""
        if self.step_interval:
            runner.check_inside()
        loop, epoch = runner.train_loop, runner.epoch
        if epoch == 0 or runner.val_loop is None or runner.message_hub.get_info(VALIDATED) == epoch:
            return
        loop._decide_current_val_interval()
        if epoch >= loop.val_begin and (epoch % loop.val_interval == 0 or epoch == loop.max_epochs):
            runner.logger.info(f"Epoch {epoch} was not validated before the interruption: validating it now.")
            runner.val_loop.run()

    def after_train_iter(self, runner: Runner, batch_idx: int, **others: object) -> None:
        """Saves the state where it is due, and ends the training where a signal asks for that.

        Raises:
            TrainingStopped: a signal did.
        """
        asked = runner.stop_request.agreed()
        steps = runner.iter + 1
        every = self.step_interval
        self._due = self._due or asked is not None or (every is not None and steps % every == 0)
        if not self._due or has_pending_gradients(runner.optim_wrapper):
            return
        self._due = False
        if asked is None and batch_idx + 1 == len(runner.train_dataloader) and (runner.epoch + 1) % self.interval == 0:
            return  # the epoch's checkpoint comes next
        if asked is not None and not runner.resumes_inside:
            raise TrainingStopped(
                f"{asked.name} asked the training to end, after step {steps}, whose epoch cannot be taken up there: "
                "that needs the sampler rgbx.datasets.EpochSampler"
            )
        name = runner.save_inside_epoch(batch_idx + 1)
        self._note(runner, name)
        if asked is not None:
            raise TrainingStopped(f"{asked.name} asked the training to end, after step {steps}")

    def before_val_iter(self, runner: Runner, **others: object) -> None:
        """Ends the training where a signal asks for that; it validates first when it is resumed.

        Raises:
            TrainingStopped: a signal did.
        """
        asked = runner.stop_request.received()
        if asked is not None and runner.world_size == 1 and self._is_saved(runner):  # processes differ in their batches
            raise TrainingStopped(f"{asked.name} asked the training to end, in the validation of epoch {runner.epoch}")

    def after_train_epoch(self, runner: Runner) -> None:
        if (runner.epoch + 1) % self.interval == 0 or runner.epoch + 1 == runner.max_epochs:
            self._save_resumable(runner, runner.epoch + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if runner.epoch == 0:
            return
        hub = runner.message_hub
        hub.update_info(VALIDATED, int(runner.epoch))
        improved = self._save_best(runner, metrics)
        asked = runner.stop_request.agreed()
        if improved or asked is not None or self._is_saved(runner):
            self._save_resumable(runner, runner.epoch)  # so that a resumed run knows score and best
        previous, best = improved or (None, None)
        if previous and previous != best:
            self._remove(runner, previous)
        if asked is not None and runner.epoch < runner.max_epochs:
            raise TrainingStopped(f"{asked.name} asked the training to end, after epoch {runner.epoch}")

    @staticmethod
    def _is_saved(runner: Runner) -> bool:
        """Whether the state at the end of the last epoch lies on disk."""
        return runner.epoch in runner.message_hub.get_info("keep_ckpt_ids", [])

    def _save_best(self, runner: Runner, metrics: dict[str, float] | None) -> tuple[str | None, str] | None:
        """Saves the weights if they are the best so far; returns the names of the last best and of this one."""
        if self.save_best is None or not metrics:
            return None
        metric, sign = self._metric(runner)
        if metric not in metrics:
            raise ValueError(f"save_best={self.save_best!r} is not among the metrics {sorted(metrics)}")
        score, hub, stem = metrics[metric], runner.message_hub, f"best_{metric.replace('/', '_')}_epoch_"
        previous = hub.get_info("best_ckpt")
        known = previous is not None and previous.startswith(stem)  # after a resumption, it may be of another metric
        best = hub.get_info("best_score") if known else -sign * math.inf
        if math.isnan(score) or sign * (score - best) <= 0:
            return None
        name = f"{stem}{runner.epoch}.pth"
        hub.update_info("best_score", float(score))
        hub.update_info("best_ckpt", name)
        meta: dict[str, Any] = {"epoch": runner.epoch}
        if isinstance(runner.val_loop, ValidationLoop):
            loader = runner.cfg.get("val_dataloader")
            data = loader["dataset"] if isinstance(loader, dict) else runner.val_dataloader.dataset
            meta[SELECTED] = selection(runner.val_loop.session, data, metric)
        runner.save_checkpoint(runner.work_dir, name, save_optimizer=False, save_param_scheduler=False, meta=meta)
        runner.logger.info(f"Best {metric} so far: {score:.4g}, saved as {name}")
        return (previous if known else None), name

    def _metric(self, runner: Runner) -> tuple[str, int]:
        """The metric, and 1 where more of it is better or else -1."""
        tasks, meta = unwrap(runner.model).tasks, runner.val_dataloader.dataset.metainfo
        metric = next(iter(headlines(tasks, meta))) if self.save_best == "auto" else str(self.save_best)
        table = {score.name: score for task in tasks.values() for score in task.table(meta)}
        score = table.get(metric.rpartition("/")[2])
        lower = self.rule == "less" if self.rule else score is not None and score.lower
        return metric, -1 if lower else 1

    def _save_resumable(self, runner: Runner, epoch: int) -> None:
        kept = [step for step in runner.message_hub.get_info("keep_ckpt_ids", []) if step != epoch]
        kept.append(epoch)
        surplus = len(kept) - self.max_keep_ckpts if self.max_keep_ckpts > 0 else 0
        outdated, kept = kept[: max(0, surplus)], kept[max(0, surplus) :]
        runner.message_hub.update_info("keep_ckpt_ids", kept)
        runner.save_checkpoint(runner.work_dir, f"epoch_{epoch}.pth", meta={"epoch": epoch})
        self._note(runner, f"epoch_{epoch}.pth")
        for step in outdated:  # only now that the new one is safely there
            self._remove(runner, f"epoch_{step}.pth")

    def _note(self, runner: Runner, name: str) -> None:
        """Notes the newest checkpoint, and removes those of steps before it."""
        if is_main_process():
            write_last(runner.work_dir, name)
            for path in resumable_in(runner.work_dir):
                if path.name != name and is_inside_epoch(path.name):
                    path.unlink(missing_ok=True)

    @staticmethod
    def _remove(runner: Runner, name: str) -> None:
        if is_main_process():
            Path(runner.work_dir, Path(name).name).unlink(missing_ok=True)
