"""Download: brings the source's images into data/raw.zip, and writes what it is into data/raw.json."""

import argparse
import os
from pathlib import Path

from cvd.data.sources.origins import Request
from cvd.data.sources.registry import fetch_source
from cvd.runtime.params.loading import load_params
from cvd.runtime.stage import run_stage


def main() -> None:
    """Parses the paths and runs the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source-path", required=True, help="folder, zip or tar with the photos; unused by others")
    parser.add_argument("--archive", required=True, help="zip to write")
    parser.add_argument("--record", required=True, help="JSON to write: source, hash, time, licence")
    args = parser.parse_args()
    run_stage(lambda: download(args), "download")


def download(args: argparse.Namespace) -> None:
    """The stage's work."""
    data = load_params().data
    request = Request(
        path=args.source_path,
        n_per_class=data.drawn.n_per_class,
        seed=data.drawn.seed,
        url=data.url,
        sha256=data.sha256,
        state_folder=Path(os.environ.get("DVC_ROOT", ".")) / ".cvd" / "downloads",
    )
    record = fetch_source(data.source, request, archive=args.archive, record=args.record)
    origin = " ".join(filter(None, (data.source, record.path, record.url)))
    print(f"{args.archive}: {record.members:,} files, {record.bytes / 1e6:,.1f} MB, from {origin}")
    print(f"sha256 {record.sha256}; licence: {record.licence}")
    if record.url and record.fetched_sha256 != record.sha256:
        print(f"sha256 of what was downloaded: {record.fetched_sha256}")
    if record.url and data.sha256 is None and data.source != "microsoft":
        print(f"to refuse any other file from now on: data.sha256={record.fetched_sha256}")


if __name__ == "__main__":
    main()
