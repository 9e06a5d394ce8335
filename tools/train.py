"""Trains: python tools/train.py CONFIG [--work-dir DIR] [--resume]."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("train"))
