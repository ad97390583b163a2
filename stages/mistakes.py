"""Mistakes: the images that each network gets wrong, doubts and gets right, and those on which networks disagree."""

import argparse

import numpy as np

from cvd.data.images.pixels import decode_image, resize_image
from cvd.evaluation.measures import read_predictions, select_test
from cvd.evaluation.mistakes import KINDS, choose_disagreements, choose_telling
from cvd.runtime.files import replace_folder
from cvd.runtime.params.graph import choose_networks
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import read_arguments, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.vis.sheets.galleries import make_exhibits, write_galleries
from cvd.vis.sheets.overlays import limit_size


def main() -> None:
    args = read_arguments(__doc__, paths=("images", "predictions", "models", "out"))
    run_stage(lambda: work(args), "mistakes")


def work(args: argparse.Namespace) -> None:
    params = load_params()
    n, method = params.gradcam.mistakes, params.gradcam.method
    variants = choose_networks(params, params.gradcam.variants, args.models)
    start_tensorflow()

    from cvd.models.networks.saving import load_network
    from cvd.vis.explaining.methods import METHODS
    from cvd.vis.explaining.views import Viewer

    tests = {name: select_test(read_predictions(args.predictions / f"{name}.csv")) for name in variants}
    telling = {name: choose_telling(test, n) for name, test in tests.items()}
    divided = choose_disagreements(tests, n) if len(tests) > 1 else []
    images: dict[str, np.ndarray] = {}
    exhibits = {}
    for name in variants:
        viewer = Viewer(name, load_network(args.models / f"{name}.keras"), method=method, only_last=True)
        paths = list(dict.fromkeys([*(path for rows in telling[name].values() for path in rows["path"]), *divided]))
        images |= {path: limit_size(decode_image(args.images / path)) for path in paths if path not in images}
        rows = tests[name].set_index("path").loc[paths]
        signs = np.where(rows["logit"] > 0, 1, -1)  # each map explains the class that the network names
        pictures = np.stack([resize_image(images[path], viewer.size_px) for path in paths])
        exhibits[name] = make_exhibits(rows, images, viewer.explain(pictures, [signs]))
    sections = {
        name: [(KINDS[kind], [exhibits[name][path] for path in rows["path"]]) for kind, rows in telling[name].items()]
        for name in variants
    }
    disagreements = [[shown[path] for shown in exhibits.values()] for path in divided]
    with replace_folder(args.out) as folder:
        write_galleries(folder, sections, disagreements, heat=METHODS[method].describe("the last convolution"))
    print(f"{len(variants)} variants, {n} images of each kind; they disagree on {len(divided)} shown")


if __name__ == "__main__":
    main()
