"""MLflow: live curves, models, metrics and pictures. The only package that imports mlflow, and only inside functions.

Nothing here fails a stage. When the store is out of reach, one line says so, the run is kept in `.cvd/unsent/`,
and `cvd sync` sends it later.
"""

from cvd.tracking.additions import add_to_run
from cvd.tracking.records import flatten
from cvd.tracking.store import find_root, store_uri
from cvd.tracking.sync import sync_workspace
from cvd.tracking.training import TrainingRun, track_training

__all__ = ["TrainingRun", "add_to_run", "find_root", "flatten", "store_uri", "sync_workspace", "track_training"]
