"""The one kind of error that people are meant to read."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: it names the thing, its value, and what would be accepted. Stages and the
    command line print it alone and end with exit code 2.
    """
