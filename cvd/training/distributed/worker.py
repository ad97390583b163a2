"""A process that trains along with others under TF_CONFIG: all but the chief leave the project as it is."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cvd.runtime.errors import InputError
from cvd.runtime.stage import end_in_one_line, run_stage
from cvd.runtime.startup import start_tensorflow
from cvd.training.distributed.cluster import find_role, read_cluster

if TYPE_CHECKING:  # TensorFlow is loaded once the stage has quietened it
    from cvd.training.distributed.strategy import Distribution


def run_training(work: Callable[[], None], name: str) -> None:
    """Runs a stage's work as `run_stage` does; where TF_CONFIG says that another process is the chief, without a lock.

    Args:
        work: the stage, its arguments parsed and bound; it writes on the chief only.
        name: the stage's name, for the lock.
    """
    try:
        cluster = read_cluster()
    except InputError:
        cluster = None  # `work` says it
    if cluster is None or cluster.is_chief:
        run_stage(work, name)
        return
    start_tensorflow()
    with end_in_one_line("the other processes end as well"):
        work()


def join_training(strategy: str) -> "Distribution | None":
    """Takes this process' place among those that `train.strategy` and TF_CONFIG ask for; None for `one`.

    Raises:
        InputError: the two do not fit together, or the processes cannot be brought together.
    """
    cluster = find_role(strategy)
    if strategy == "one":
        return None
    from cvd.training.distributed.strategy import start_distribution

    return start_distribution(strategy, cluster)
