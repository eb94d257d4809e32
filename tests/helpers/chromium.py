"""Debian's Chromium without a window, driven over its DevTools protocol by two pipes; no package is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

#: Where the browser is: PANOPTAG_CHROMIUM, or one on the PATH.
BROWSER = os.environ.get("PANOPTAG_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
#: Seconds that anything may take on a busy machine.
PATIENCE = 120.0
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-dev-shm-usage", "--mute-audio", "--force-color-profile=srgb", "--remote-debugging-pipe"),
)
#: Numbers of the keys that do something by themselves, such as moving a slider.
CODES = {"Tab": 9, "Enter": 13, "Escape": 27, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36, "ArrowLeft": 37,
         "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}  # fmt: skip


class BrowserError(RuntimeError):
    """The page threw an error, or the browser is gone."""


class Chromium:
    """One browser with one page.

    Args:
        folder: an empty one, for the browser's own files.

    Attributes:
        problems: errors and warnings of the console, uncaught exceptions, what the security policy stopped.
        requests: addresses that the page asked for.
    """

    def __init__(self, folder: Path) -> None:
        assert BROWSER is not None
        self.problems: list[str] = []
        self.requests: list[str] = []
        command_out, self._commands = os.pipe()
        self._answers, answers_in = os.pipe()
        # Away from 3 and 4, which are overwritten below.
        command_out, answers_in = (_moved(pipe) for pipe in (command_out, answers_in))
        # Chromium reads commands from descriptor 3 and answers on 4.
        words = [BROWSER, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        script = f'exec 3<&{command_out} 4>&{answers_in}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "chromium", *words], pass_fds=(command_out, answers_in),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(command_out)
        os.close(answers_in)
        self._number, self._rest = 0, b""
        self._seen: list[dict[str, Any]] = []
        target = self._send("Target.createTarget", {"url": "about:blank"}, None)["targetId"]
        self._session = self._send("Target.attachToTarget", {"targetId": target, "flatten": True}, None)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        for pipe in (self._commands, self._answers):
            os.close(pipe)
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, method: str, **values: Any) -> dict[str, Any]:
        """A command to the page, and its answer."""
        return self._send(method, values, self._session)

    def open(self, page: Path, width: int = 1280, height: int = 900, scheme: str = "light", motion: str = "reduce",
             touch: bool = False) -> None:  # fmt: skip
        """Load a file at a size of the window and wait until it is drawn."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.problems.clear()
        self.requests.clear()
        self._seen.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        self._wait_for("Page.loadEventFired")
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is on the screen: two frames."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def run(self, expression: str) -> Any:
        """Value of a JavaScript expression, a promise's too."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {json.dumps(answer['exceptionDetails'])[:600]}")
        return answer["result"].get("value")

    def key(self, name: str, shift: bool = False) -> None:
        """Press and let go of a key."""
        text = {"Enter": "\r"}.get(name, name if len(name) == 1 else "")
        values: dict[str, Any] = {
            "key": name,
            "modifiers": 8 if shift else 0,
            "windowsVirtualKeyCode": CODES.get(name, 0),
        }
        self.send("Input.dispatchKeyEvent", type="keyDown", **values, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **values)
        self.settle()

    def move(self, x: float, y: float) -> None:
        """The mouse to a point of the window."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.settle()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the button at one point, let go at another; the same point is a click."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1)
        if end != start:
            for part in (0.5, 1.0):
                x, y = (a + (b - a) * part for a, b in zip(start, end, strict=True))
                self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)
        self.settle()

    def click(self, selector: str) -> None:
        """Press an element, wherever it is on the page."""
        found = f"document.querySelector({json.dumps(selector)})"
        place = self.run(
            f"(() => {{ const e = {found}; e.scrollIntoView({{block: 'center'}}); "
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.drag(tuple(place), tuple(place))

    def text(self, selector: str) -> str:
        """An element's text, as it is seen."""
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def screenshot(self, path: Path, whole: bool = False) -> bytes:
        """The window as PNG; with ``whole``, all of the page."""
        png = base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
        return png

    def _send(self, method: str, values: dict[str, Any], session: str | None) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": values}
        if session is not None:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        wanted = self._number
        answer = self._until(lambda entry: entry.get("id") == wanted)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        return answer["result"]

    def _wait_for(self, event: str) -> None:
        if not any(entry.get("method") == event for entry in self._seen):
            self._until(lambda entry: entry.get("method") == event)

    def _until(self, wanted: Any) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while True:
            while b"\0" in self._rest:
                line, _, self._rest = self._rest.partition(b"\0")
                entry = json.loads(line)
                self._note(entry)
                if wanted(entry):
                    return entry
            ready, _, _ = select.select([self._answers], [], [], max(end - time.monotonic(), 0))
            piece = os.read(self._answers, 1 << 20) if ready else b""
            if not piece:
                raise BrowserError("the browser is gone" if ready else f"no answer within {PATIENCE:g} s")
            self._rest += piece

    def _note(self, entry: dict[str, Any]) -> None:
        method, values = entry.get("method"), entry.get("params", {})
        self._seen.append({"method": method})
        if method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.problems.append(f"console: {[a.get('value') or a.get('description') for a in values['args']]}")
        elif method == "Runtime.exceptionThrown":
            self.problems.append(f"exception: {json.dumps(values['exceptionDetails'])[:600]}")
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"log: {values['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])


def _moved(pipe: int) -> int:
    """The same pipe under a number of at least 10."""
    high = fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(pipe)
    return high
