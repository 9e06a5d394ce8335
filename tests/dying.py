"""A hook for configs of tests, of a process that dies as the machine under it would."""

import os
import signal
from pathlib import Path

from mmengine.hooks import Hook


class DiesOnce(Hook):
    """The second process dies in the third epoch, once."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        once = os.environ.get("KILL_ONCE")
        if once and os.environ["RANK"] == "1" and runner.iter == 4 and not Path(once).exists():
            Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
