"""Look at pages of reports in headless Chromium, at two widths and in both themes.

    browser.py [--output DIR] [PAGE ...]

Without pages those of the sample content are drawn. Each is opened at 400 and 1,400 pixels, light and dark. It must be
read without a request, without a message of the console, and without scrolling sideways, and all of its links must lead
somewhere. Screenshots and a PDF as printed are in DIR (default: .bench/report). Chromium is found in PATH or by
CHROMIUM; as root on Debian it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

if __package__ in (None, ""):  # started as a script, without the repository's root on the import path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.unit.report.page import sample

from maskrcnn_trainer.report.page.page import page

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome", "chrome")
PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")
WIDTHS = (400, 1400)
THEMES = ("light", "dark")
SECONDS_TO_START = 60
LARGEST_ANSWER = 256 << 20
LARGEST_PAGE = 8 << 20

IN_THE_PAGE = """(() => {
  const lost = [...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))
    .filter(h => !h.startsWith('#') || !document.getElementById(h.slice(1)));
  const broken = [...document.images].filter(i => i.complete && !i.naturalWidth).length;
  const root = document.documentElement;
  return {lost, broken, wide: root.scrollWidth - root.clientWidth, height: root.scrollHeight,
          background: getComputedStyle(document.body).backgroundColor};
})()"""


class Session:
    """Connection to one tab of a browser by the DevTools protocol.

    Attributes:
        events: of the tab, in their order.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.events: list[dict[str, Any]] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._tab: str | None = None

    async def open_tab(self) -> None:
        """Open an empty tab; all later calls are for it."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._tab = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        self.events.clear()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the result of a method; events that come before it are kept.

        Raises:
            RuntimeError: the browser refuses the call.
        """
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": self._tab} if self._tab else {}))
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    async def until(self, method: str) -> None:
        """Wait for an event."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(await self._socket.receive_json())


def find_browser() -> str:
    """Return the path of Chromium; install it where that is possible.

    Raises:
        SystemExit: there is none.
    """
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    apt = shutil.which("apt-get")
    if found is None and apt is not None and os.geteuid() == 0:
        for arguments in (("update", "-qq"), ("install", "-qq", "--yes", "--no-install-recommends", *PACKAGES)):
            subprocess.run([apt, *arguments], check=True, stdout=subprocess.DEVNULL)
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit("browser.py: install Chromium (Debian: apt-get install chromium), or name it with CHROMIUM=PATH")
    return found


@asynccontextmanager
async def browser() -> AsyncIterator[Session]:
    """Run a headless browser without access to a network, and yield a session with an open tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
            f"--user-data-dir={profile}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            address = await asyncio.wait_for(_address(Path(profile) / "DevToolsActivePort"), SECONDS_TO_START)
            async with (
                aiohttp.ClientSession() as client,
                client.ws_connect(address, max_msg_size=LARGEST_ANSWER) as socket,
            ):
                session = Session(socket)
                await session.open_tab()
                yield session
                await session.call("Browser.close")
        finally:
            # The program may be a script that has started the browser as another process.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _address(file: Path) -> str:
    """Return the address that a browser listens on, from the file into which it writes port and path."""
    while not (lines := file.read_text().split() if file.exists() else []):
        await asyncio.sleep(0.1)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"


async def looked_at(session: Session, file: Path, output: Path) -> list[str]:
    """Return what is wrong with a page, one sentence each; write its screenshots and its PDF."""
    found = []
    size = file.stat().st_size
    if size > LARGEST_PAGE:
        found.append(f"{file.name}: {size:,} bytes, more than {LARGEST_PAGE:,}")
    for width, theme in itertools.product(WIDTHS, THEMES):
        where = f"{file.name} at {width} pixels, {theme}"
        session.events.clear()
        media = [{"name": "prefers-color-scheme", "value": theme}]
        await session.call("Emulation.setEmulatedMedia", media="screen", features=media)
        await _resize(session, width, 900)
        await session.call("Page.navigate", url=file.as_uri())
        await session.until("Page.loadEventFired")
        state = (await session.call("Runtime.evaluate", expression=IN_THE_PAGE, returnByValue=True))["result"]["value"]
        # Pictures are decoded only when they come into view.
        await _resize(session, width, min(state["height"], 16_000))
        picture = await session.call("Page.captureScreenshot", format="png")
        (output / f"{file.stem}-{width}-{theme}.png").write_bytes(base64.b64decode(picture["data"]))
        after = (await session.call("Runtime.evaluate", expression=IN_THE_PAGE, returnByValue=True))["result"]["value"]
        found += [
            f"{where}: {problem}" for problem in _problems(session.events, file, state | {"broken": after["broken"]})
        ]
    await session.call("Emulation.setEmulatedMedia", media="print", features=[])
    await session.call("Emulation.clearDeviceMetricsOverride")
    printed = await session.call("Page.printToPDF", printBackground=False)
    (output / f"{file.stem}.pdf").write_bytes(base64.b64decode(printed["data"]))
    return found


async def _resize(session: Session, width: int, height: int) -> None:
    await session.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
    )  # fmt: skip


def _problems(events: Iterable[dict[str, Any]], file: Path, state: dict[str, Any]) -> list[str]:
    problems = [f"the link {link} leads nowhere" for link in state["lost"]]
    if state["wide"] > 0:
        problems.append(f"the page is {state['wide']} pixels wider than the screen")
    if state["broken"]:
        problems.append(f"{state['broken']} pictures can't be decoded")
    for event in events:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if url != file.as_uri() and not url.startswith("data:"):
                    problems.append(f"a request: {url}")
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                problems.append(f"the console: {parameters}")
    return problems


def sample_pages(folder: Path) -> list[Path]:
    """Write the pages of the sample content, and return their paths."""
    single = sample.experiment(("nucleus",))
    contents = {
        "full": sample.report(),
        "without-pictures": sample.report(sample.experiment(with_pictures=False)),
        "80-classes": sample.report(sample.experiment(sample.many_names(80))),
        "one-class": sample.report(single),
        "nothing-detected": sample.report(sample.nothing_detected()),
        "not-recorded": sample.report(sample.bare_experiment()),
        "several": sample.report(
            sample.experiment(), sample.experiment(name="shapes-50", seed=2), sample.bare_experiment(), comparable=False
        ),
    }
    paths = []
    for name, content in contents.items():
        paths.append(folder / f"{name}.html")
        paths[-1].write_text(page(content), encoding="utf-8")
    return paths


async def main(arguments: argparse.Namespace) -> int:
    """Open all pages; return 1 if something is wrong with one of them."""
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    files = [path.resolve() for path in arguments.pages] or sample_pages(output.resolve())
    found = []
    async with browser() as session:
        for file in files:
            found += await looked_at(session, file, output)
    sys.stdout.write("".join(f"{problem}\n" for problem in found))
    sys.stdout.write(f"{len(files)} pages, {len(found)} problems; screenshots are in {output}\n")
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Open pages of reports in headless Chromium.")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--output", type=Path, default=ROOT / ".bench" / "report")
    sys.exit(asyncio.run(main(parser.parse_args())))
