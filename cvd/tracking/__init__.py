"""MLflow, never in a stage's way: a training's live preview, and one path that completes runs from files."""

from cvd.tracking.gate import Courier as Courier
from cvd.tracking.sync import complete_results as complete_results
from cvd.tracking.sync import list_runs as list_runs
from cvd.tracking.sync import promote_variant as promote_variant
from cvd.tracking.sync import sync_workspace as sync_workspace
from cvd.tracking.training import TrainingRun as TrainingRun
from cvd.tracking.training import add_to_run as add_to_run
from cvd.tracking.training import track_training as track_training
