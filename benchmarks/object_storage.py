"""Inputs from and results in object storage, on an S3 server of this machine, compared with doing without.

    python benchmarks/object_storage.py [staging | publishing | files] [options]

Without a part, all run with their defaults. ``--help`` after a part shows its options; for what each one measures, see
the module of its name, ``object_storage_<part>.py``.
"""

from __future__ import annotations

import argparse

import object_storage_files
import object_storage_publishing
import object_storage_staging

PARTS = {
    "staging": object_storage_staging,
    "publishing": object_storage_publishing,
    "files": object_storage_files,
}


def main() -> None:
    """Run one part, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_subparsers(dest="part")
    parsers = {}
    for name, part in PARTS.items():
        parsers[name] = chosen.add_parser(
            name, description=part.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        part.add_arguments(parsers[name])
    arguments = parser.parse_args()
    if arguments.part is not None:
        PARTS[arguments.part].run(arguments)
        return
    for name, part in PARTS.items():
        print(f"== {name}", flush=True)
        part.run(parsers[name].parse_args([]))


if __name__ == "__main__":
    main()
