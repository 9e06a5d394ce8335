"""What ends a command: Ctrl-C, also where Python itself cannot raise it."""

import subprocess
import sys

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
