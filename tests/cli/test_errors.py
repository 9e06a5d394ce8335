"""What ends a command: Ctrl-C, also where Python itself cannot raise it; and what it says on its way."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import rgbx
from rgbx._types import InputWarning
from rgbx.cli.errors import run_command, warnings_in_sentences

PROGRAM = """
import signal, time
from rgbx.cli.errors import run_command

signal.signal(signal.SIGINT, signal.default_int_handler)

class Deaf:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)  # what is raised here, Python ignores

def command(argv):
    Deaf()
    for _ in range(200):  # what repeats it does not wake a longer sleep
        time.sleep(0.1)
    return 0

raise SystemExit(run_command(command, []))
"""


def test_an_ignored_ctrl_c_is_repeated():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130, done
    assert done.stderr.strip() == "Interrupted."


def test_warnings_of_the_package_are_sentences():
    usual, own = warnings.formatwarning, str(Path(rgbx.__file__).parent / "models/multimodal.py")
    with warnings_in_sentences():
        assert warnings.formatwarning("too far", UserWarning, own, 3) == "warning: too far\n"
        assert warnings.formatwarning("too far", InputWarning, "elsewhere.py", 3) == "warning: too far\n"
        assert warnings.formatwarning("x", UserWarning, "torch.py", 3, "y") == usual(
            "x", UserWarning, "torch.py", 3, "y"
        )
    assert warnings.formatwarning is usual


@pytest.mark.parametrize(
    ("name", "words"),
    [("predict", "--batch-size"), ("test", "test_dataloader.batch_size=1"), ("train", "train_dataloader.batch_size")],
)
def test_memory_that_is_not_enough_is_one_sentence(name, words, capsys):
    """PyTorch's own error of a CPU, and that of a GPU; another RuntimeError is a fault of ours."""

    def large(given):
        return torch.empty(1 << 50).numel()

    def on_a_gpu(given):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 3 GiB")

    def faulty(given):
        raise RuntimeError("shapes differ")

    for body, told in (
        (large, "the memory was not enough"),
        (on_a_gpu, "of the GPU was not enough for another 2.00 GiB"),
    ):
        assert run_command(body, [], name) == 2
        error = capsys.readouterr().err
        assert told in error and words in error and error.count("\n") == 1
    with pytest.raises(RuntimeError, match="shapes"):
        run_command(faulty, [], name)
