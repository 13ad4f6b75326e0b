"""Takes out of an environment what the operator never imports: slim.py /opt/venv

The Kubernetes client is a thousand generated classes, one for each kind and group; objects are dictionaries here, and
the calls are made by its transport alone. Its packages load those classes only when they are asked for.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

GENERATED = tuple(f"kubernetes/{client}/{part}" for client in ("client", "aio/client") for part in ("models", "api"))
UNUSED = ("kubernetes/e2e_test", "kubernetes/docs", "kubernetes/test", "pip", "setuptools")


def main(environment: Path) -> None:
    """Remove them; a package that has another shape than expected is an error, not a larger image."""
    (site,) = environment.glob("lib/python3.*/site-packages")
    for name in GENERATED:
        package = site / name
        if not (package / "__init__.py").is_file():
            raise SystemExit(f"{package} is no package any more: look at what the client consists of now")
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
