"""MLflow, never in a stage's way: what cannot be sent waits in `.cvd/unsent/` for `cvd sync`, and one line says so."""

from cvd.tracking.gate import Courier
from cvd.tracking.sync import complete_results, list_runs, sync_workspace
from cvd.tracking.training import TrainingRun, add_to_run, track_training

__all__ = ["Courier", "TrainingRun", "add_to_run", "complete_results", "list_runs", "sync_workspace", "track_training"]
