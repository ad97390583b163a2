"""Commands that keep a project in order."""
