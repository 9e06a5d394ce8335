"""What an installation of rgbx consists of: a bill of materials (CycloneDX), and what is known to be weak in it.

python .ci/bom.py write FILE    # dependencies and those of the extras that users install, as they are installed here
python .ci/bom.py audit         # asks PyPI's index of vulnerabilities, where it answers

The environment of development has more: what rgbx does not reach is left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from versions import ROOT, requirements

import rgbx

EXTRAS = ("export", "mat", "metrics", "serve")  # `retrieval` needs a compiler
KNOWN_WEAK = "pillow==10.1.0"  # CVE-2023-50447: an index that does not name it says nothing about other packages


def materials() -> dict[str, Any]:
    """The bill of what rgbx and its extras reach, of the packages that are installed here.

    Raises:
        ValueError: something that pyproject.toml asks for is not installed.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON", "-o", "-",
               "--pyproject", str(ROOT / "pyproject.toml"), sys.executable]  # fmt: skip
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return shipped(found, reached(requirements(EXTRAS)), rgbx.__version__)


def reached(asked: Sequence[Requirement]) -> dict[str, set[str]]:
    """What each installed package that these need asks for itself, by canonical names; of "" are these.

    Raises:
        ValueError: one of them is not installed.
    """
    edges = {"": {canonicalize_name(one.name) for one in asked}}
    ahead, seen = [(one.name, extra) for one in asked for extra in ("", *one.extras)], set[tuple[str, str]]()
    while ahead:
        name, extra = ahead.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError as error:
            raise ValueError(f"{name} is not installed here: make .venv/installed-dev") from error
        needed = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate({"extra": extra})]
        edges.setdefault(canonicalize_name(name), set()).update(canonicalize_name(one.name) for one in needed)
        ahead += [(one.name, more) for one in needed for more in ("", *one.extras)]
    return edges


def shipped(bill: Mapping[str, Any], edges: Mapping[str, set[str]], version: str) -> dict[str, Any]:
    """The part of a bill of a whole environment that has these packages, with the version of its root.

    Args:
        bill: CycloneDX as read from JSON.
        edges: see `reached`.
        version: of rgbx.
    """
    root = {**bill["metadata"]["component"], "version": version}
    parts = [part for part in bill["components"] if canonicalize_name(part["name"]) in edges]
    references = {canonicalize_name(part["name"]): part["bom-ref"] for part in parts} | {"": root["bom-ref"]}
    needs = [
        {"ref": references[name], "dependsOn": sorted(references[one] for one in edges[name])} for name in references
    ]
    about = {**bill["metadata"], "component": root}
    return {**bill, "metadata": about, "components": parts, "dependencies": needs}


def weaknesses(packages: Sequence[str]) -> dict[str, list[str]] | None:
    """Identifiers of what is known, by package; None where the index does not answer.

    Args:
        packages: each as NAME==VERSION.
    """
    with tempfile.TemporaryDirectory() as folder:
        (listed := Path(folder) / "requirements.txt").write_text("\n".join(packages))
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "-f", "json", "-r", str(listed)]
        done = subprocess.run(command, capture_output=True, text=True)
    try:
        parts = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        return None
    if any("skip_reason" in part for part in parts):
        return None
    weak = [part for part in parts if part["vulns"]]
    return {f"{part['name']} {part['version']}": [one["id"] for one in part["vulns"]] for part in weak}


def audit() -> int:
    """Prints what is known of the installed packages; 1 where something is."""
    if not weaknesses([KNOWN_WEAK]):
        print("Not checked for known vulnerabilities: PyPI's index of them does not answer from here.")
        return 0
    parts = materials()["components"]
    known = weaknesses([f"{part['name']}=={part['version'].partition('+')[0]}" for part in parts])
    if known is None:
        print("Not checked for known vulnerabilities: PyPI's index of them does not know every package.")
        return 0
    for package, names in known.items():
        print(f"{package}: {', '.join(names)}")
    print(f"{len(parts)} packages asked for, {len(known)} with known vulnerabilities.")
    return bool(known)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write").add_argument("file", type=Path)
    commands.add_parser("audit")
    options = parser.parse_args()
    if options.command == "audit":
        return audit()
    bill = materials()
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_text(json.dumps(bill, indent=1) + "\n")
    print(f"{options.file}: {len(bill['components'])} packages, with the extras {', '.join(EXTRAS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
