"""Images, shards and features as batches."""
