"""Package the chart into dist/chart.

    chart_package.py [--operator REPOSITORY@sha256:DIGEST] [--trainer REPOSITORY@sha256:DIGEST]

With images by digest the packaged values name those, so that an installation runs what was released.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __package__ in (None, ""):  # started as a script: the repository's root is not on the path
    sys.path.insert(0, str(ROOT))

from tests.apiserver.go_build import BuildError
from tests.cluster.tools import find_tool

CHART = ROOT / "charts" / "maskrcnn-operator"
IMAGE = re.compile(r"(?P<repository>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})")


def with_images(values: str, operator: str = "", trainer: str = "") -> str:
    """Return the text of values.yaml with images by digest; an empty image leaves its values as they are.

    Raises:
        ValueError: an image isn't REPOSITORY@sha256:DIGEST, or the values have no place for it.
    """
    for image in filter(None, (operator, trainer)):
        if not IMAGE.fullmatch(image):
            raise ValueError(f"{image!r} isn't an image by digest, such as registry.example/name@sha256:...")
    if operator:
        repository, digest = operator.split("@")
        values = _replace(values, r"^(image:\n(?:  .*\n)*?  repository: ).*$", repository)
        values = _replace(values, r"^(image:\n(?:  .*\n)*?  digest: ).*$", digest)
    if trainer:
        values = _replace(values, r"^(trainer:\n(?:  .*\n)*?  image: ).*$", trainer)
    return values


def _replace(values: str, place: str, value: str) -> str:
    changed, count = re.subn(place, lambda match: match[1] + value, values, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"values.yaml has {count} places for {value}, expected one")
    return changed


def main(arguments: list[str]) -> int:
    """Write dist/chart/maskrcnn-operator-VERSION.tgz; return 1 if it cannot be made."""
    parser = argparse.ArgumentParser(description="Package the chart into dist/chart.")
    parser.add_argument("--operator", default="", help="operator's image by digest")
    parser.add_argument("--trainer", default="", help="trainer's image by digest")
    given = parser.parse_args(arguments)
    target = ROOT / "dist" / "chart"
    try:
        helm = find_tool("helm")
        with tempfile.TemporaryDirectory() as work:
            chart = Path(work) / CHART.name
            shutil.copytree(CHART, chart)
            values = chart / "values.yaml"
            values.write_text(with_images(values.read_text(encoding="utf-8"), given.operator, given.trainer), "utf-8")
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            subprocess.run([str(helm), "package", str(chart), "--destination", str(target)], check=True)
    except (BuildError, ValueError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
