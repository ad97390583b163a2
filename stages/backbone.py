"""Backbone: pretrained weights, fetched, checked and converted -> one Keras model."""

from argparse import Namespace

from cvd.runtime.params.loading import load_params
from cvd.runtime.project import state_folder
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow


def main() -> None:
    args = read_arguments(__doc__, paths=["backbone"])
    run_stage(lambda: make_backbone(args), "backbone")


def make_backbone(args: Namespace) -> None:
    params = load_params().backbone
    start_tensorflow()

    from cvd.models.networks.backbone import save_backbone
    from cvd.models.pretrained.building import build_backbone

    cache = state_folder() / "weights"  # the repository's own, which queued copies of an experiment share
    model, source = build_backbone(**params.model_dump(), cache=cache)
    saved = save_backbone(model, args.backbone, name=params.name, weights=params.weights, source=source)
    classes = "and its 1,000 ImageNet classes" if saved.has_classes else "without ImageNet classes"
    n_parameters = model.count_params()
    print(f"{saved.name}: {saved.size_px} px -> {saved.n_features:,} features, {n_parameters:,} parameters, {classes}")
    print(f"weights: {saved.source}")


if __name__ == "__main__":
    main()
