"""From a source of photos to batches."""
