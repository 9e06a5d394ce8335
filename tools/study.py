"""Runs a declared grid of methods and seeds: python tools/study.py STUDY.py [--jobs N] [--dry-run]."""

from rgbx.cli.study import main

if __name__ == "__main__":
    raise SystemExit(main())
