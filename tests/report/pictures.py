"""Write the pictures of reports in docs/images, with headless Chromium.

    pictures.py [--output DIR] DEMO

DEMO is the report of ``make demo``, workspace/shapes/report.html. The pages without images, with 80 classes, with one
class, and without detections are those of the sample content.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):  # started as a script, without the repository's root on the import path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.report.browser import ROOT, NoBrowser, browser, evaluated, looked_at, screenshot, write_pages

DEMO = "demo"
LARGEST_PICTURE = 120_000
QUALITY = 60
SCALES = {1400: 0.7, 400: 1.0}
"""Pixels of the picture for each pixel of the page, by the page's width."""


@dataclass(frozen=True)
class Picture:
    """Part of a page at one width and in one theme.

    Attributes:
        name: of the file, without ``.webp``.
        page: DEMO, or a page of the sample content.
        width: of the screen.
        theme: "light" or "dark".
        height: pixels of the page, from the top of the part on.
        part: selector of the element at whose top the picture starts.
        columns: pixels of the page's width that are shown; None for all.
    """

    name: str
    page: str
    width: int
    theme: str
    height: int
    part: str = "body"
    columns: int | None = None


PICTURES = (
    Picture("report-1400-light", DEMO, 1400, "light", 1440),
    Picture("report-1400-dark", DEMO, 1400, "dark", 1440),
    Picture("report-400-light", DEMO, 400, "light", 1300),
    Picture("report-400-dark", DEMO, 400, "dark", 1300),
    Picture("report-errors", DEMO, 1400, "light", 540, "#errors", 950),
    Picture("report-confusion", DEMO, 1400, "light", 640, "#confusion", 1050),
    Picture("report-precision-recall", DEMO, 1400, "light", 560, "#precision-recall", 950),
    Picture("report-best-score", DEMO, 1400, "light", 600, "#f1", 950),
    Picture("report-reliability", DEMO, 1400, "light", 500, "#reliability", 950),
    Picture("report-images", DEMO, 1400, "light", 720, "#images"),
    Picture("report-training", DEMO, 1400, "light", 900, "#training"),
    Picture("report-models", DEMO, 1400, "light", 420, "#models"),
    Picture("report-without-pictures", "without-pictures", 1400, "light", 700, "#images"),
    Picture("report-80-classes", "80-classes", 1400, "light", 1300, "#confusion"),
    Picture("report-one-class", "one-class", 1400, "light", 1120),
    Picture("report-nothing-detected", "nothing-detected", 1400, "light", 1120),
)


async def main(arguments: argparse.Namespace) -> int:
    """Write all pictures; return 1 if one of them is too large.

    Raises:
        NoBrowser: there is no Chromium.
    """
    output: Path = arguments.output
    large = []
    with tempfile.TemporaryDirectory() as folder:
        pages = write_pages(Path(folder)) | {DEMO: arguments.demo.resolve()}
        async with browser() as session:
            for picture in PICTURES:
                await looked_at(session, pages[picture.page], picture.width, picture.theme)
                top = await evaluated(
                    session, f"document.querySelector('{picture.part}').getBoundingClientRect().top + scrollY"
                )
                clip = {
                    "x": 0, "y": top, "width": picture.columns or picture.width, "height": picture.height,
                    "scale": SCALES[picture.width],
                }  # fmt: skip
                content = await screenshot(
                    session, format="webp", quality=QUALITY, clip=clip, captureBeyondViewport=True
                )  # fmt: skip
                (output / f"{picture.name}.webp").write_bytes(content)
                large += [picture.name] if len(content) > LARGEST_PICTURE else []
                sys.stdout.write(f"{picture.name}.webp: {len(content):,} bytes\n")
    sys.stdout.write("".join(f"{name}.webp has more than {LARGEST_PICTURE:,} bytes\n" for name in large))
    return 1 if large else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the pictures of reports in docs/images.")
    parser.add_argument("demo", type=Path, metavar="DEMO", help="the report of make demo, workspace/shapes/report.html")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images", metavar="DIR")
    try:
        sys.exit(asyncio.run(main(parser.parse_args())))
    except NoBrowser as error:
        sys.exit(f"pictures.py: {error}")
