"""Backbone: pretrained weights, fetched, checked and converted -> one Keras model."""

import argparse
import os
from pathlib import Path

from cvd.runtime.stage import run_stage
from cvd.runtime.startup import start_tensorflow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    run_stage(lambda: make_backbone(args.backbone), "backbone")


def make_backbone(folder: Path) -> None:
    """Builds the backbone that params.yaml names, and saves it."""
    from cvd.runtime.params.loading import load_params

    params = load_params().backbone
    start_tensorflow()

    from cvd.models.networks.backbone import save_backbone
    from cvd.models.pretrained.building import build_backbone

    # Beside the repository itself, so that queued copies of an experiment share what has been fetched.
    cache = Path(os.environ.get("DVC_ROOT", ".")) / ".cvd" / "weights"
    model, source = build_backbone(name=params.name, weights=params.weights, size_px=params.size_px, cache=cache)
    saved = save_backbone(model, folder, name=params.name, weights=params.weights, source=source)
    classes = "and its 1,000 ImageNet classes" if saved.has_classes else "without ImageNet classes"
    n_parameters = model.count_params()
    print(f"{saved.name}: {saved.size_px} px -> {saved.n_features:,} features, {n_parameters:,} parameters, {classes}")
    print(f"weights: {saved.source}")


if __name__ == "__main__":
    main()
