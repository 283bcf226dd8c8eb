"""The mover as a program that gives up soon: ``python -m tests.servers.hasty``, as ``-m mover``.

A request is tried twice within milliseconds, not twelve times within a minute, and a task that its
store fails three times. So tests see in seconds what becomes of an object after that.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

from mover import dressing, letters
from mover.__main__ import main
from transports.retry_policy import RetryPolicy

ATTEMPTS = 3
IMPATIENT = RetryPolicy(attempts_max=2, base_s=0.01)

if __name__ == "__main__":
    with (
        patch.object(dressing, "DEFAULT_POLICY", IMPATIENT),
        patch.object(letters, "OBJECT_ATTEMPTS_MAX", ATTEMPTS),
    ):
        sys.exit(main())
