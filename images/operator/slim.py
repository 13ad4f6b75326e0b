"""Removal of modules that the operator never imports from an environment.

    slim.py /opt/venv

The Kubernetes client has a thousand generated classes, one for each kind and group. The operator represents objects as
dictionaries and uses only the client's transport, and the client's packages load those classes lazily.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

GENERATED = tuple(f"kubernetes/{client}/{part}" for client in ("client", "aio/client") for part in ("models", "api"))
UNUSED = ("kubernetes/e2e_test", "kubernetes/docs", "kubernetes/test", "pip", "setuptools")


def main(environment: Path) -> None:
    """Remove the modules; exit with an error if a package isn't where it is expected."""
    (site,) = environment.glob("lib/python3.*/site-packages")
    for name in GENERATED:
        package = site / name
        if not (package / "__init__.py").is_file():
            raise SystemExit(f"{package} isn't a package: adapt images/operator/slim.py to the client's new layout")
        for path in package.glob("*.py"):
            if path.name != "__init__.py":
                path.unlink()
    for name in UNUSED:
        shutil.rmtree(site / name, ignore_errors=True)
    for pattern in ("**/tests", "**/test", "**/__pycache__"):
        for folder in [path for path in site.glob(pattern) if path.is_dir()]:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
