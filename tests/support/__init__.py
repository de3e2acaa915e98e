"""What the tests share. pytest explains a failed assert only in modules that it is told about
before they are imported."""

import pytest

pytest.register_assert_rewrite(
    "support.command_line",
    "support.learner",
    "support.mirror",
    "support.programs",
    "support.record",
    "support.two_processes",
)
