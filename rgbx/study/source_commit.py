"""Which commit the running code is of, where it lies in a git checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import rgbx

PATIENCE = 10.0  # seconds for git


def find_commit(package: Path | None = None) -> str | None:
    """Twelve or more digits of the commit, with "+changes" where tracked files differ from it.

    Args:
        package: a folder with an `__init__.py`; rgbx by default.

    Returns:
        None without git, outside a checkout, or for a package that merely lies inside another project's checkout.
    """
    folder = package or Path(rgbx.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(folder, "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
