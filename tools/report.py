"""Makes a report: python tools/report.py RESULTS_JSON DIR."""

from rgbx.cli.main import run

if __name__ == "__main__":
    raise SystemExit(run("report"))
