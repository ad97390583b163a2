"""A headless Chromium, driven through a pipe by its own protocol: https://chromedevtools.github.io/devtools-protocol/."""

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
_READS, _WRITES = 3, 4  # the file descriptors from which and to which the browser expects its pipe


class Browser:
    """A browser with one tab. `complaints` holds what the console and failed requests said."""

    def __init__(self, profile: Path) -> None:
        (theirs, self._ours_out), (self._ours_in, their_out) = (
            [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()] for _ in range(2)
        )

        def connect() -> None:
            os.dup2(theirs, _READS)
            os.dup2(their_out, _WRITES)

        self._process = subprocess.Popen(
            [
                str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
                f"--user-data-dir={profile}", "--no-first-run", "about:blank",
            ],
            preexec_fn=connect, pass_fds=(_READS, _WRITES), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs)
        os.close(their_out)
        self._session, self._n, self._rest = "", 0, b""
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser."""
        os.close(self._ours_out)
        self._process.terminate()
        self._process.wait(20)
        os.close(self._ours_in)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Asks for something and waits for the reply."""
        self._n += 1
        message = {"id": self._n, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._ours_out, json.dumps(message).encode() + b"\0")
        while (reply := self._read()).get("id") != self._n:
            self._note(reply)
        assert "error" not in reply, reply
        return reply["result"]

    def show(self, address: str, *, width: int, dark: bool = False) -> None:
        """Opens an address at a window's width in px and waits until it is there."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=address)
        self.wait(f"location.href.startsWith({address!r}) && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str, *, within_s: int = 60) -> None:
        """Waits until an expression is true."""
        limit = f"setTimeout(() => no('waited {within_s} s'), {within_s}000)"
        assert self.run(
            f"new Promise((yes, no) => {{ {limit}; const look = () => ({script}) ? yes(true) : setTimeout(look, 50);"
            " look() })"
        )

    def choose_file(self, selector: str, path: Path) -> None:
        """Puts a file into a file field."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        field = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=field, files=[str(path)])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._ours_in, 2**16)
            assert part, "the browser has ended"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        kind, params = event.get("method"), event.get("params", {})
        if kind == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif kind in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(params)[:500])
        elif kind == "Network.loadingFailed" and not params.get("canceled"):
            self.complaints.append(params["errorText"])
