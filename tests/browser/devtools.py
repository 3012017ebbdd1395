"""A headless Chromium, driven through the DevTools protocol over a pipe: no port, no websocket.

Chromium reads commands from its file descriptor 3 and writes answers and events to 4: JSON that
ends in a zero byte (`--remote-debugging-pipe`).
"""

import base64
import collections
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-extensions", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60  # seconds that anything may take, on a busy machine too


def find_chromium():
    """The program's path, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One Chromium with a profile of its own."""

    def __init__(self, program, folder):
        # Bash puts the pipes' ends at 3 and 4, whatever their numbers are here.
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        script = f'exec "$@" 3<&{commands} 4>&{answers}'
        arguments = [program, *OPTIONS, f"--user-data-dir={folder}/profile"]
        with open(folder / "chromium.log", "w") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", script, "bash", *arguments],
                pass_fds=(commands, answers), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._buffer, self._last = b"", 0
        self.events = collections.deque()
        self.requested = []  # addresses, of all pages

    def close(self):
        """End the browser."""
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            self.call("Browser.close")
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method, session=None, **parameters):
        """A command's result; events that come meanwhile are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(deadline, method)
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method, session=None, **wanted):
        """The parameters of the next event of this name (of a session) with these values."""
        deadline = time.monotonic() + PATIENCE
        while True:
            event = self.events.popleft() if self.events else self._receive(deadline, method)
            found = event.get("params", {})
            is_meant = event.get("method") == method and wanted.items() <= found.items()
            if is_meant and session in (None, event.get("sessionId")):
                return found

    def _receive(self, deadline, what):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{what}: nothing came in {PATIENCE} s")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise EOFError(f"{what}: Chromium has ended ({self._process.poll()})")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        found = json.loads(message)
        if found.get("method") == "Network.requestWillBeSent":
            self.requested.append(found["params"]["request"]["url"])
        return found

    def open(self, path, size=None):
        """A new page that shows a file, in a window of this size."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"], target)
        if size:
            page.resize(*size, mobile=size[0] < 500)
        page.load(path)
        return page


class Page:
    """A tab."""

    def __init__(self, browser, session, target):
        self.browser, self._session, self._target = browser, session, target
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method, **parameters):
        """A command for this page."""
        return self.browser.call(method, self._session, **parameters)

    def load(self, path):
        """Show a file."""
        self._wait_until_loaded(self.call("Page.navigate", url=path.as_uri())["loaderId"])

    def reload(self):
        """As with F5."""
        self.browser.events.clear()
        self.call("Page.reload")
        frame = self.browser.wait_for("Page.frameNavigated", self._session)["frame"]
        self._wait_until_loaded(frame["loaderId"])

    def _wait_until_loaded(self, loader):
        """Until this document, and no one before it, is loaded."""
        self.browser.wait_for("Page.lifecycleEvent", self._session, name="load", loaderId=loader)

    def close(self):
        """Close the tab."""
        self.browser.call("Target.closeTarget", targetId=self._target)

    def value(self, expression):
        """What a JavaScript expression gives; of a promise, what it is kept with."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression):
        """Wait for a JavaScript expression that is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < deadline, expression
            time.sleep(0.02)

    def press(self, key, **more):
        """Press a key and let it go."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def write(self, text):
        """Type into what has the focus."""
        for character in text:
            self.press(character)

    def click(self, selector):
        """Click in the middle of an element, once it has come to rest (it may slide into place)."""
        x, y = self.value(
            f"(async () => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "let last, now = e.getBoundingClientRect();"
            "do { last = now; await new Promise(requestAnimationFrame);"
            "now = e.getBoundingClientRect(); } while (last.x !== now.x || last.y !== now.y);"
            "return [now.x + now.width / 2, now.y + now.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def resize(self, width, height, mobile=False):
        """Make the window (or a phone's screen) this large, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=mobile,
        )  # fmt: skip

    def screenshot(self, path):
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
