"""Evaluates: python tools/test.py CONFIG CHECKPOINT [--modalities rgb depth rgb+depth]."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("test"))
