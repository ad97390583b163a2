"""MLflow: live curves, models, metrics and pictures. The only package that imports mlflow, and only inside functions.

Nothing here fails a stage. When the store is out of reach, one line says so, and what is to be sent is kept
in `.cvd/unsent/` until `cvd sync` sends it.
"""

from cvd.tracking.records import arrange_explanations
from cvd.tracking.sync import list_runs, sync_workspace
from cvd.tracking.training import TrainingRun, add_to_run, track_training

__all__ = ["TrainingRun", "add_to_run", "arrange_explanations", "list_runs", "sync_workspace", "track_training"]
