"""Examines a dataset: python tools/doctor.py CONFIG|PATH [--json FILE] [--contact-sheet PNG]."""

from rgbx.cli.doctor import main

if __name__ == "__main__":
    raise SystemExit(main())
