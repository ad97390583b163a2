"""`make pictures`: the pictures of docs/, made from the outputs of a default run by the project's own commands."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from browser import CHROMIUM, Browser
from PIL import Image

FOLDER = Path("docs")
CURVES, HEAT = Path("plots/comparison/curves.png"), Path("plots/side_by_side/images/test_dog_dog.2.png")
SHEETS = Path("plots/data/train_cat.png"), Path("plots/data/train_dog.png")
ROWS_PX, GAP_PX = 296, 16  # of the sheets: their first three rows, and what lies between the two
STORE = Path("mlflow.db")
# MLflow's page opens an assistant at the first visit.
VISITED = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
DRAWN = "document.querySelectorAll('.js-plotly-plot .main-svg').length > 7"  # two or three in each of four charts
WITHIN_S = 300


def main() -> str | None:
    record = Path("data/raw.json")
    missing = [path for path in (record, CURVES, HEAT, *SHEETS) if not path.is_file()]
    if missing:
        return f"error: {missing[0]} is missing: `make repro` makes it"
    if (source := json.loads(record.read_text())["source"]) != "drawn":
        return f"error: data/raw.json says source {source!r}: the pictures of docs/ are those of drawn images"
    shutil.copyfile(CURVES, FOLDER / "curves.png")
    Image.open(HEAT).convert("RGB").save(FOLDER / "gradcam.jpg", quality=88)
    join_sheets().save(FOLDER / "drawn.png", optimize=True)
    if CHROMIUM is None or not STORE.is_file():
        return f"error: docs/mlflow.png stays as it is: it needs Chromium and {STORE}. The others are made"
    photograph_runs(FOLDER / "mlflow.png")
    return None


def join_sheets() -> Image.Image:
    """Join the first rows of the sheets of cats and of dogs, in 256 colours."""
    sheets = [Image.open(path).convert("RGB") for path in SHEETS]
    cats, dogs = (sheet.crop((0, 0, sheet.width, ROWS_PX)) for sheet in sheets)
    joined = Image.new("RGB", (cats.width + GAP_PX + dogs.width, ROWS_PX), "white")
    joined.paste(cats, (0, 0))
    joined.paste(dogs, (cats.width + GAP_PX, 0))
    return joined.quantize(256)


def photograph_runs(target: Path) -> None:
    """Photograph the page that `make ui` names, once its curves are drawn."""
    page = subprocess.run(["cvd", "runs", "--page"], check=True, capture_output=True, text=True).stdout.strip()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{STORE}", "--default-artifact-root", "mlartifacts"]
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1", *store]
    with tempfile.TemporaryDirectory() as name, Path(name, "log").open("w") as log:
        env = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        tab = Browser(Path(name, "profile"))
        try:
            await_server(f"http://127.0.0.1:{port}/health", server)
            tab.send("Page.addScriptToEvaluateOnNewDocument", source=VISITED)
            tab.show(f"http://127.0.0.1:{port}{page}", width=1474)
            tab.wait(DRAWN, within_s=WITHIN_S)
            target.write_bytes(base64.b64decode(tab.send("Page.captureScreenshot")["data"]))
        finally:
            tab.close()
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(60)


def await_server(address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait for an answer."""
    for _ in range(2 * WITHIN_S):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            assert server.poll() is None, "mlflow ui has ended"
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(address)


if __name__ == "__main__":
    sys.exit(main())
