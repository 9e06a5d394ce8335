"""Runs a declared grid of methods and seeds: python tools/study.py STUDY.py [--jobs N] [--dry-run]."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("study"))
