"""A small project in git whose dvc.lock, cache and experiments are written by hand, as DVC leaves them."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cvd.evaluation.measures import evaluate_variant, tabulate_predictions
from cvd.runtime.files import render_json

ROOT = Path(__file__).parent.parent
EVALUATE = {"calibration_bins": 10, "onset_tolerance": 0.05, "notable_gap": 0.05, "learned_accuracy": 0.8}
TRAINING = {"epochs": 4, "saved_epoch": 4, "precision": "float32", "parameters": 10}
TIMING = {"images_per_second": 190.4, "seconds": 75.2, "seconds_per_epoch": [18.8], "device": "CPU", "threads": 2}
HISTORY = pd.DataFrame(
    {"epoch": range(1, 5), "loss": 0.4, "accuracy": 0.8, "val_loss": [0.6, 0.5, 0.5, 0.6], "val_accuracy": 0.7}
)
N = 200  # images of each split


def git(root: Path, *arguments: str) -> str:
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    done = subprocess.run(["git", *author, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


class Project:
    """Its variants are `baseline` and `augmented`, of a skill each; a rotation and a split's seed are parameters."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".dvc").mkdir()
        shutil.copy(ROOT / "params.yaml", root)
        (root / ".gitignore").write_text("/predictions\n/data\n/models\n/.dvc/cache\n")
        git(root, "init", "-q", "-b", "main")

    def write(
        self,
        *,
        baseline: float = 0.5,
        augmented: float = 1.0,
        rotation: int = 40,
        split_seed: int = 1,
        code: str = "code",
    ) -> None:
        """Write what `dvc repro` would: files, the cache, dvc.lock, params.yaml."""
        text = (ROOT / "params.yaml").read_text().replace("rotation_degrees: 40", f"rotation_degrees: {rotation}")
        (self.root / "params.yaml").write_text(text)
        split = np.repeat(["test", "train", "validation"], N)
        names = [f"{part}/{split_seed}-{i}.jpg" for i, part in enumerate(split)]
        rows = pd.DataFrame({"path": names, "split": split, "label": np.arange(3 * N) % 2, "sha256": names})
        manifest = self._store("data/manifest.csv", rows.to_csv(index=False))
        stages: dict[str, Any] = {
            "split": {"params": {"params.yaml": {"split": {"seed": split_seed}}}, "outs": [manifest]}
        }
        for name, skill in {"baseline": baseline, "augmented": augmented}.items():
            noise = np.random.default_rng(len(name)).normal(size=3 * N)
            frame = tabulate_predictions(rows, (2 * rows["label"] - 1) * skill + noise)
            metrics = evaluate_variant(frame, HISTORY, TRAINING, **EVALUATE)
            params = {"seed": 1, f"variants.{name}": {"epochs": 4}}
            params |= {"augment": {"rotation_degrees": rotation, "zoom_fraction": 0.2}} if name == "augmented" else {}
            model = self._store(f"models/{name}.keras", f"{name} {skill} {split_seed}")
            timing = self._store(f"models/{name}.timing.json", json.dumps(TIMING))
            stages[f"train@{name}"] = {
                "cmd": "train",
                "deps": [manifest, {"path": "cvd/training", "md5": code}],
                "params": {"params.yaml": params},
                "outs": [model, timing],
            }
            outs = [self._store(f"predictions/{name}.csv", frame.to_csv(index=False))]
            outs.append(self._store(f"metrics/{name}.json", render_json(metrics)))
            stages[f"evaluate@{name}"] = {"cmd": "evaluate", "deps": [manifest, model], "outs": outs}
        (self.root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))

    def commit(self, message: str = "results") -> str:
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.root, "rev-parse", "HEAD")

    def keep(self, name: str) -> None:
        """Keep the working folder as an experiment, as DVC does, and go back to HEAD."""
        head = git(self.root, "rev-parse", "HEAD")
        self.commit(name)
        git(self.root, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", "HEAD")
        git(self.root, "reset", "-q", "--hard", head)

    def cached(self, md5: str) -> Path:
        return self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]

    def forget(self, path: str) -> None:
        """Drop what the working folder's file holds from folder and cache."""
        file = self.root / path
        self.cached(hashlib.md5(file.read_bytes()).hexdigest()).unlink()
        file.unlink()

    def _store(self, path: str, text: str) -> dict[str, str]:
        file, md5 = self.root / path, hashlib.md5(text.encode()).hexdigest()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if not path.startswith("metrics"):
            self.store_bytes(text.encode())
        return {"path": path, "md5": md5}

    def store_bytes(self, content: bytes) -> str:
        """Put a file into DVC's cache; its md5."""
        md5 = hashlib.md5(content).hexdigest()
        self.cached(md5).parent.mkdir(parents=True, exist_ok=True)
        self.cached(md5).write_bytes(content)
        return md5
