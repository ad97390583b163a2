"""MLflow: live curves, models, metrics and pictures. The only package that imports mlflow, and only inside functions.

Nothing here fails a stage. When the store is out of reach, one line says so, and what is to be sent is kept
in `.cvd/unsent/` until `cvd sync` sends it.
"""

from cvd.runtime.project import find_root, store_uri
from cvd.tracking.additions import add_to_run
from cvd.tracking.listing import list_runs
from cvd.tracking.run_records import arrange_explanations, flatten
from cvd.tracking.sync import sync_workspace
from cvd.tracking.training import TrainingRun, track_training

__all__ = [
    "TrainingRun",
    "add_to_run",
    "arrange_explanations",
    "find_root",
    "flatten",
    "list_runs",
    "store_uri",
    "sync_workspace",
    "track_training",
]
