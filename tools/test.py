"""Evaluates: python tools/test.py CONFIG CHECKPOINT [--modalities rgb depth rgb+depth]."""

from rgbx.cli.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
