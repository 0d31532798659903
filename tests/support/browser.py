"""A headless Chromium for tests of pages: one that talks to nobody, and tells what a page asked for and complained of.

Decided here: Debian's `chromium` and `chromedriver`, driven through selenium, with both paths given, so that selenium
looks for nothing to download; every name resolves to nothing, so that neither page nor browser reaches a network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

from support.peers import peer_path

__all__ = ["Browser", "chromium"]

_FLAGS = (
    "--headless=new",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--dns-prefetch-disable",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
_PATIENCE_S = 20.0


class Browser:
    """One tab. Sizes in CSS pixels."""

    def __init__(self, driver: Chrome, downloads: Path) -> None:
        self._driver = driver
        self._command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def open(self, path: Path, *, width: int = 1280, dark: bool = False, until: str) -> None:
        """A file; what was logged before is forgotten. `until` is a JavaScript expression that becomes true."""
        self.prefer(dark=dark)
        self.resize(width)
        self.complaints()
        self.requests()
        self._driver.get(path.as_uri())
        self.wait(until)

    def prefer(self, *, dark: bool) -> None:
        """As a person does who switches the system's colours."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])

    def resize(self, width: int) -> None:
        """As a person does who turns a phone."""
        self._command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def js(self, body: str, *arguments: object) -> Any:
        """The value of `return` in a function's body."""
        return self._driver.execute_script(body, *arguments)

    def wait(self, expression: str) -> None:
        """Until it is true in the page; TimeoutException after a while."""
        self.until(lambda: bool(self.js(f"return Boolean({expression})")))

    def until(self, condition: Callable[[], bool]) -> None:
        """Until it is true outside of it."""
        WebDriverWait(self._driver, _PATIENCE_S, 0.02).until(lambda _: condition())

    def requests(self) -> list[str]:
        """Every address that was asked for since the page was opened or this was last called; `data:` is none."""
        messages = (json.loads(entry["message"])["message"] for entry in self._log("performance"))
        sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """Everything on the console since then."""
        return [f"{entry['level']}: {entry['message']}" for entry in self._log("browser")]

    def to_pdf(self) -> str:
        """The page as it prints, in base64."""
        return str(self._command("Page.printToPDF", preferCSSPageSize=True)["data"])

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._driver.get_log(kind)  # type: ignore[no-untyped-call]  # selenium's gap
        return entries

    def _command(self, name: str, /, **arguments: object) -> Any:
        return self._driver.execute_cdp_cmd(name, arguments)


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Starts one with its profile and downloads in `folder`; it ends with the block, by its own driver."""
    options = Options()
    options.binary_location = peer_path("chromium")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium has none for root
    for flag in (*_FLAGS, *sandbox, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    downloads = folder / "downloads"
    downloads.mkdir()
    driver = Chrome(options=options, service=Service(peer_path("chromedriver")))
    try:
        yield Browser(driver, downloads)
    finally:
        driver.quit()
