import sys
from pathlib import Path

from runner_of_tiny import make_runner  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))  # test_resume.py, whose comparisons others use
