import pytest

# The suites ship in the packages, where pytest does not rewrite assertions unasked.
pytest.register_assert_rewrite("transports.testing", "scheduler.testing")
