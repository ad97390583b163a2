"""The stage `explanations`: which images it examines, and of which its file holds maps."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from classifiers import build
from PIL import Image

from cvd.data.images.manifest import write_manifest
from cvd.data.images.pixels import resize_image
from cvd.models.networks.saving import write_checkpoints
from cvd.vis.explaining.heatmaps import list_epochs, name_epoch, read_heatmaps
from cvd.vis.explaining.views import Viewer

ROOT = Path(__file__).parents[2]
EPOCHS = [3, 6, 9]  # at the last one, the network is as it ended
PATHS = [f"test/{label}/{label}.{number}.png" for number in range(6) for label in ("cat", "dog")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve test images of noise with masks, a network, and its answers: the surest mistake is the last image."""
    root = tmp_path_factory.mktemp("explanations")
    random = np.random.default_rng(5)
    rows = [{"path": path, "label": int("dog" in path), "split": "test", "width": 40, "height": 40} for path in PATHS]
    write_manifest([dict.fromkeys(("sha256", "group", "source_name", "normalised"), "") | row for row in rows],
                   root / "manifest.csv")  # fmt: skip
    with zipfile.ZipFile(root / "masks.zip", "w") as masks:
        for number, path in enumerate(PATHS):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(root / path)
            mask = np.zeros((40, 40), np.uint8)
            mask[: 3 * number + 3] = 255
            masks.writestr(f"animal/{path}", cv2.imencode(".png", mask)[1].tobytes())
    answers = [f"{row['path']},test,{row['label']},{5 if row['label'] else -5},0.9\n" for row in rows]
    answers[-1] = f"{PATHS[-1]},test,1,-9,0.1\n"
    (root / "predictions.csv").write_text("path,split,label,logit,probability\n" + "".join(answers))
    build("plain").save(root / "model.keras")
    final = build("plain").get_weights()
    write_checkpoints(root / "c.npz", EPOCHS, [[weights * epoch / 9 for weights in final] for epoch in EPOCHS],
                      final=final)  # fmt: skip
    return root


def explain(project: Path, **changes: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Run the stage; returns its figures, and the paths of the images with maps for what the network says."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in changes.items():
        params[section] |= values
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    options = {"variant": "mine", "model": "model.keras", "images": ".", "manifest": "manifest.csv"}
    options |= {"masks": "masks.zip", "predictions": "predictions.csv", "metrics": "m.json"}
    options |= {"heatmaps": "h.npz", "checkpoints": "c.npz"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    subprocess.run([sys.executable, "-m", "stages.explanations", *words], cwd=project, check=True, capture_output=True,
                   env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    return json.loads((project / "m.json").read_text()), list(read_heatmaps(project / "h.npz", "named").paths)


def test_maps_that_have_yet_to_be_made_are_few_and_an_image_that_is_named_twice_counts_once(project: Path) -> None:
    checked = PATHS[3:8]
    figures, named = explain(
        project,
        gradcam={"images": 2, "mistakes": 1, "method": "gradcam"},
        explanations={"methods": ["gradcam"], "images": checked, "perturbed": 2, "randomised": 2},
    )
    assert set(named) > {*checked, PATHS[-1]}
    again, fewer = explain(
        project,
        gradcam={"images": 2, "mistakes": 1, "method": "hirescam"},
        explanations={
            "methods": ["gradcam"],
            "images": [checked[0], checked[0], *checked[1:]],
            "perturbed": 2,
            "randomised": 2,
        },
    )
    assert again == figures
    assert fewer[:2] == checked[:2]
    assert PATHS[-1] in fewer
    assert set(fewer) == set(named) - set(checked[2:])


def test_earlier_epochs_are_explained_by_the_network_as_it_was(project: Path) -> None:
    explain(
        project,
        gradcam={"images": 2, "mistakes": 1, "method": "gradcam"},
        explanations={"methods": ["gradcam"], "images": 2, "perturbed": 1, "randomised": 1},
    )
    assert list_epochs(project / "h.npz") == EPOCHS
    for epoch in EPOCHS:
        seen = read_heatmaps(project / "h.npz", name_epoch(epoch))
        model = build("plain")
        model.set_weights([weights * epoch / 9 for weights in model.get_weights()])
        viewer = Viewer("mine", model, method="gradcam", labels=seen.labels)
        pixels = np.stack([np.asarray(Image.open(project / path)) for path in seen.paths])
        size_px = model.input_shape[1]
        pixels = np.stack([resize_image(image, size_px) for image in pixels])
        expected = viewer.explain(pixels, seen.paths, (-1, 1))
        np.testing.assert_allclose(seen.probabilities, expected.probabilities, rtol=1e-5)
        for layer, maps in expected.maps.items():
            np.testing.assert_allclose(seen.maps[layer], maps, rtol=1e-4, atol=1e-6)
            assert maps.any()
