"""Download: bring the source's images into data/raw.zip, and write what it is into data/raw.json."""

from argparse import Namespace

from cvd.data.sources.origins import Request
from cvd.data.sources.registry import fetch_source
from cvd.runtime.params.loading import load_params
from cvd.runtime.project import state_folder
from cvd.runtime.stage import read_arguments, run_stage


def main() -> None:
    args = read_arguments(__doc__, names=["source-path"], paths=["archive", "record"])
    run_stage(lambda: download(args), "download")


def download(args: Namespace) -> None:
    data = load_params().data
    request = Request(
        path=args.source_path,
        n_per_class=data.drawn.n_per_class,
        seed=data.drawn.seed,
        leak=data.drawn.leak,
        classes=data.choose_classes(),
        url=data.url,
        sha256=data.sha256,
        state_folder=state_folder() / "downloads",
    )
    provenance = fetch_source(data.source, request, archive=args.archive, record=args.record)
    origin = " ".join(filter(None, (data.source, provenance.path, provenance.url)))
    print(f"{args.archive}: {provenance.members:,} files, {provenance.bytes / 1e6:,.1f} MB, from {origin}")
    print(f"sha256 {provenance.sha256}; licence: {provenance.licence}")
    if provenance.url and provenance.fetched_sha256 != provenance.sha256:
        print(f"sha256 of what was downloaded: {provenance.fetched_sha256}")
    if provenance.url and data.sha256 is None and data.source != "microsoft":
        print(f"to refuse any other file from now on: data.sha256={provenance.fetched_sha256}")


if __name__ == "__main__":
    main()
