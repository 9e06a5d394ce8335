"""Examines a dataset: python tools/doctor.py CONFIG|PATH [--json FILE] [--contact-sheet PNG]."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("doctor"))
