"""Compares two results: python tools/compare.py A/results.json B/results.json."""

from rgbx.cli.compare import main

if __name__ == "__main__":
    raise SystemExit(main())
