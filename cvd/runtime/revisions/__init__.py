"""Revisions: commits, DVC's experiments and the working folder; what each holds, and how two of them differ."""
