"""`cvd worker`: this machine helps to train a variant whose chief is another."""

import argparse
import os
import shlex
import sys

from cvd.runtime.errors import InputError
from cvd.runtime.project import find_root
from cvd.training.distributed.cluster import EXAMPLE, read_cluster


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what may be typed after `cvd worker`."""
    parser.add_argument("variant", help="which `dvc repro train@VARIANT` trains on the chief; needs TF_CONFIG")


def work_along(args: argparse.Namespace) -> int:
    """Become the training command that dvc.yaml gives the variant; with TF_CONFIG of a worker it writes nothing.

    Raises:
        InputError: TF_CONFIG makes no worker of this process, or dvc.yaml does not train the variant.
    """
    cluster = read_cluster()
    if cluster is None:
        raise InputError(f"TF_CONFIG is not set: it must be like {EXAMPLE}")
    if cluster.is_chief:
        raise InputError(f"TF_CONFIG makes this process the chief: run `dvc repro train@{args.variant}` here")
    os.chdir(find_root())
    from dvc.exceptions import DvcException  # type: ignore[import-untyped]
    from dvc.repo import Repo  # type: ignore[import-untyped]

    stage = f"train@{args.variant}"
    try:
        with Repo() as repo:
            command: str = repo.stage.load_one(name=stage).cmd
    except DvcException as error:
        raise InputError(f"dvc.yaml has no stage {stage}: {' '.join(str(error).split())}") from error
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *shlex.split(command)[1:]])
