"""Makes xplique_maps.npz, the maps that test_explaining_peers.py compares with: xplique's, of the same networks.

xplique 2.0.2 needs TensorFlow 2.20, another OpenCV and CUDA's wheels, so it runs in an environment of its own:

    python3 -m venv /tmp/xplique
    /tmp/xplique/bin/pip install "tensorflow-cpu==2.20.*" opencv-python-headless scikit-learn scikit-image matplotlib
    /tmp/xplique/bin/pip install "tf-keras==2.20.*" deprecated dm-tree cloudpickle decorator einops
    /tmp/xplique/bin/pip install --no-deps xplique==2.0.2 "tensorflow-probability==0.25.*"
    cd tests/vis && /tmp/xplique/bin/python make_xplique_maps.py

xplique enlarges its maps to the image; here that step is left out, so that what is kept is what it computed.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from classifiers import BUILDERS, LAYERS, build, draw_images
from xplique.attributions import GradCAM, GradCAMPP


def main() -> None:
    images, maps = draw_images(), {}
    for name in BUILDERS:
        model = build(name)
        for layer in LAYERS[name]:
            for method, peer in (("gradcam", GradCAM), ("gradcam++", GradCAMPP)):
                for sign in (1, -1):
                    explainer = peer(model, conv_layer=layer, batch_size=8)
                    maps[f"{name}/{layer}/{method}/{sign}"] = explain(explainer, images, sign)
    np.savez_compressed(Path(__file__).with_name("xplique_maps.npz"), **maps)
    for key, value in maps.items():
        print(key, value.shape, value.max())


def explain(explainer: GradCAM, images: np.ndarray, sign: int) -> np.ndarray:
    """The steps of its `explain`, but the enlarging: (n, h', w')."""
    targets = tf.constant([[float(sign)]] * len(images))  # the score is sum(model(x) * targets)
    features, gradients = explainer._gradient(tf.constant(images), targets)
    weights = explainer._compute_weights(gradients, features)
    return np.asarray(GradCAM._apply_weights(weights, features), np.float32)


if __name__ == "__main__":
    main()
