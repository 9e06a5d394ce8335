"""Compares two results: python tools/compare.py A/results.json B/results.json."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("compare"))
