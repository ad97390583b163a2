"""Results side by side, with how sure a difference is: variants, seeds, revisions, experiments."""
