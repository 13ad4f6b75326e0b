"""Look at pages of reports in headless Chromium, at two widths and in both themes.

    browser.py [--output DIR] [PAGE ...]

Without pages those of the sample content are drawn. Each is opened at 400 and 1,400 pixels, light and dark. It must be
read without a request, without a message of the console, and without scrolling sideways, and each of its links must
lead to the section that it names. Screenshots and a PDF as printed are in DIR (default: .bench/report). Chromium is
found in PATH or by CHROMIUM; as root on Debian it is installed.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

if __package__ in (None, ""):  # started as a script, without the repository's root on the import path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.unit.report.page import sample

from maskrcnn_trainer.report.content import Report
from maskrcnn_trainer.report.page.page import page

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome", "chrome")
PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")
WIDTHS = (400, 1400)
THEMES = ("light", "dark")
SECONDS_TO_START = 60
LARGEST_ANSWER = 256 << 20
HIGHEST_SCREENSHOT = 16_000
"""Pixels; Chromium draws nothing below about 16,384."""

IN_THE_PAGE = """(() => {
  const target = a => document.getElementById(a.getAttribute('href').slice(1));
  const links = [...document.querySelectorAll('a[href]')];
  const lost = links.filter(a => !a.getAttribute('href').startsWith('#') || !target(a)?.getClientRects().length);
  const wrong = [...document.querySelectorAll('nav a[href^="#"]')].filter(a => target(a))
    .filter(a => target(a).querySelector('h2,h3')?.textContent !== a.textContent);
  const broken = [...document.images].filter(i => i.complete && !i.naturalWidth).length;
  const root = document.documentElement;
  const of = list => list.map(a => a.getAttribute('href'));
  return {lost: of(lost), wrong: of(wrong), broken, wide: root.scrollWidth - root.clientWidth,
          height: root.scrollHeight, background: getComputedStyle(document.body).backgroundColor};
})()"""


class NoBrowser(Exception):
    """There is no Chromium; the text is the reason."""


@dataclass(frozen=True)
class Look:
    """A page at one width and in one theme.

    Attributes:
        problems: what is wrong, one sentence each.
        height: of the page in pixels.
        background: color of its body, as CSS has it.
    """

    problems: tuple[str, ...]
    height: int
    background: str


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
        NoBrowser: there is none.
    """
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    apt = shutil.which("apt-get")
    if found is None and apt is not None and os.geteuid() == 0:
        for arguments in (("update", "-qq"), ("install", "-qq", "--yes", "--no-install-recommends", *PACKAGES)):
            subprocess.run([apt, *arguments], check=False, stdout=subprocess.DEVNULL)
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise NoBrowser("install Chromium (Debian: apt-get install chromium), or name it with CHROMIUM=PATH")
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


async def looked_at(session: Session, file: Path, width: int, theme: str) -> Look:
    """Open a page, and return what is wrong with it.

    Args:
        session: a tab.
        file: absolute path of the page.
        width: of the screen in pixels.
        theme: of the screen, "light" or "dark".
    """
    session.events.clear()
    media = [{"name": "prefers-color-scheme", "value": theme}]
    await session.call("Emulation.setEmulatedMedia", media="screen", features=media)
    await resize(session, width, 900)
    await session.call("Page.navigate", url=file.as_uri())
    await session.until("Page.loadEventFired")
    state = await _state(session)
    # Pictures are decoded only when they come into view.
    await resize(session, width, min(state["height"], HIGHEST_SCREENSHOT))
    await session.call("Page.captureScreenshot", format="jpeg", quality=1)
    state["broken"] = (await _state(session))["broken"]
    return Look(tuple(_problems(session.events, file, state)), state["height"], state["background"])


async def screenshot(session: Session, **options: Any) -> bytes:
    """Return a picture of the open page; options are those of Page.captureScreenshot."""
    picture = await session.call("Page.captureScreenshot", **({"format": "png"} | options))
    return base64.b64decode(picture["data"])


async def printed(session: Session, file: Path) -> bytes:
    """Return a page as PDF, printed without backgrounds, as browsers do by default."""
    session.events.clear()
    await session.call("Emulation.setEmulatedMedia", media="print", features=[])
    await session.call("Emulation.clearDeviceMetricsOverride")
    await session.call("Page.navigate", url=file.as_uri())
    await session.until("Page.loadEventFired")
    document = await session.call("Page.printToPDF", printBackground=False)
    return base64.b64decode(document["data"])


async def evaluated(session: Session, expression: str) -> Any:
    """Return the value of an expression in the open page, whose own policy allows no script; None without a value."""
    answer = await session.call("Runtime.evaluate", expression=expression, returnByValue=True)
    return answer["result"].get("value")


async def _state(session: Session) -> dict[str, Any]:
    return dict(await evaluated(session, IN_THE_PAGE))


async def resize(session: Session, width: int, height: int) -> None:
    """Change the size of the screen in pixels."""
    await session.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
    )  # fmt: skip


def _problems(events: Iterable[dict[str, Any]], file: Path, state: dict[str, Any]) -> list[str]:
    problems = [f"the link {link} leads nowhere" for link in state["lost"]]
    problems += [f"the link {link} leads to another section than it names" for link in state["wrong"]]
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


def sample_contents() -> dict[str, Report]:
    """Return reports of all kinds by name."""
    experiment = sample.experiment()
    other = sample.experiment(name="shapes-50", seed=2)
    return {
        "full": sample.report(experiment),
        "without-pictures": sample.report(sample.experiment(with_pictures=False)),
        "80-classes": sample.report(sample.experiment(sample.many_names(80))),
        "one-class": sample.report(sample.experiment(("nucleus",))),
        "nothing-detected": sample.report(sample.nothing_detected()),
        "not-recorded": sample.report(sample.bare_experiment()),
        "several": sample.report(experiment, other, sample.bare_experiment(), comparable=False),
    }


def write_pages(folder: Path) -> dict[str, Path]:
    """Write the pages of the sample contents into a folder, and return their absolute paths by name."""
    written = {}
    for name, content in sample_contents().items():
        written[name] = folder.resolve() / f"{name}.html"
        written[name].write_text(page(content), encoding="utf-8")
    return written


async def main(arguments: argparse.Namespace) -> int:
    """Open all pages; return 1 if something is wrong with one of them.

    Raises:
        NoBrowser: there is no Chromium.
    """
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    files = [path.resolve() for path in arguments.pages] or list(write_pages(output).values())
    found = []
    async with browser() as session:
        for file in files:
            for width, theme in itertools.product(WIDTHS, THEMES):
                look = await looked_at(session, file, width, theme)
                (output / f"{file.stem}-{width}-{theme}.png").write_bytes(await screenshot(session))
                found += [f"{file.name} at {width} pixels, {theme}: {problem}" for problem in look.problems]
            (output / f"{file.stem}.pdf").write_bytes(await printed(session, file))
    sys.stdout.write("".join(f"{problem}\n" for problem in found))
    sys.stdout.write(f"{len(files)} pages, {len(found)} problems; screenshots are in {output}\n")
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Open pages of reports in headless Chromium.")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--output", type=Path, default=ROOT / ".bench" / "report")
    try:
        sys.exit(asyncio.run(main(parser.parse_args())))
    except NoBrowser as error:
        sys.exit(f"browser.py: {error}")
