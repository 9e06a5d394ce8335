"""What ends a command: Ctrl-C, also where Python itself cannot raise it; and what it says on its way."""

import subprocess
import sys
import warnings
from pathlib import Path

import rgbx
from rgbx._types import InputWarning
from rgbx.cli.errors import warnings_in_sentences

PROGRAM = """
import signal, time
from rgbx.cli.errors import run_command

signal.signal(signal.SIGINT, signal.default_int_handler)

class Deaf:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)  # what is raised here, Python ignores

def command(argv):
    Deaf()
    time.sleep(20)
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
