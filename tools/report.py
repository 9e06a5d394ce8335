"""Makes a report: python tools/report.py RESULTS_JSON DIR."""

from rgbx.cli.report import main

if __name__ == "__main__":
    raise SystemExit(main())
