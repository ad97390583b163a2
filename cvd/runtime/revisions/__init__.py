"""Revisions: commits, DVC's experiments and the working folder; what each holds, and in what two of them differ."""
