"""Errors of a whole request; each class carries the exit code that the command line returns.

The failure of a single object is not an error of the request: it is a ``Failure`` in the report.
"""


class MoverError(Exception):
    """A request could not be carried out; the message is one line for a person, with the remedy."""

    exit_code = 1


class Rejected(MoverError):
    """The request makes no sense as it stands; nothing was changed."""

    exit_code = 2


class Incomplete(MoverError):
    """The request stopped before its end; the same command line resumes it."""

    exit_code = 1


class Damaged(MoverError):
    """Verification failed after retries."""

    exit_code = 3
