"""Parameters, epochs, models and trainings to be tracked."""

import io
import json
from pathlib import Path

from PIL import Image

from cvd import tracking

ROOT = Path(__file__).parent.parent.parent
PARAMS = {
    "seed": 1,
    "augment": {"rotation_degrees": 40.0},
    "backbone": {"name": "MobileNetV2"},
    "gradcam": {"top": 3},
    "variants": {
        "baseline": {"input": "files", "network": "plain", "augment": False, "epochs": 3},
        "augmented": {"input": "files", "network": "plain", "augment": True, "epochs": 3},
    },
}
EPOCH = {"loss": 0.5, "accuracy": 0.9, "val_loss": 0.8, "val_accuracy": 0.7, "learning_rate": 1e-4}


EXPLANATIONS = {
    "gradcam++": {"conv4": {"animal_pointing": 0.9, "details": [{"rank_correlations": {"logit": 0.1}}]}},
    "hirescam": {"conv1": {"animal_pointing": 0.5}, "conv4": {"animal_pointing": 0.8}},
    "chance": {"random": {"animal_pointing": 0.5}},
}


def save_model(path: Path, seed: int = 0, side: int = 8) -> Path:
    """A tiny network on pixels."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = [
        keras.Input((side, side, 3)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(1),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.Sequential(layers).save(path)
    return path


def train(variant: str = "baseline", *, model: Path | None = None, n_epochs: int = 2, **options: object) -> str:
    """A tracked training that trains nothing; returns the run's id."""
    arguments = {"stage": f"train@{variant}", "params": PARAMS, "data": {"manifest": "ab" * 32}, **options}
    with tracking.track_training(variant=variant, **arguments) as run:
        for epoch in range(1, n_epochs + 1):
            run.log_epoch(epoch, EPOCH)
        if model is not None:
            run.log_model(model)
    return run.run_id


def sync() -> list[str]:
    """What `cvd sync` sends, when all of it can be sent."""
    synced = tracking.sync_workspace(PARAMS)
    assert synced is not None
    assert not synced.faults, synced.faults
    return synced.sent


def draw(text: str) -> bytes:
    """A picture, another one for each text."""
    file = io.BytesIO()
    Image.frombytes("RGB", (16, 16), text.encode().ljust(768)).save(file, "PNG")
    return file.getvalue()


def write_workspace(root: Path, variant: str, seed: int) -> Path:
    """What `dvc checkout` leaves of a training, an evaluation and an export."""
    model = save_model(root / f"models/{variant}.keras", seed)
    history = (
        "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n1,0.7,0.5,0.7,0.5,0.0001\n2,0.5,0.8,0.6,0.7,0.0001\n"
    )
    timing = {"images_per_second": 100.0, "seconds": 10.0, "seconds_per_epoch": [5.0, 5.0], "device": "abacus"}
    texts = {
        f"models/{variant}.history.csv": history,
        f"models/{variant}.timing.json": json.dumps(timing),
        f"models/{variant}.training.json": json.dumps({"epochs": 2, "precision": "float32"}),
        f"metrics/{variant}.json": json.dumps({"test": {"accuracy": 0.75}}),
        f"metrics/explanations/{variant}.json": json.dumps(EXPLANATIONS),
        f"predictions/{variant}.csv": "path\n",
        f"plots/gradcam/{variant}/a.png": draw("picture"),
        f"plots/gradcam/{variant}/a/conv1_dog.png": draw("picture"),
        "plots/side_by_side/images/a.png": draw("picture"),
        f"plots/filters/{variant}/conv1.png": draw("picture"),
        "plots/comparison/curves.png": draw("picture"),
        "data/manifest.csv": "path\n",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return model
