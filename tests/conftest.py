"""Hypothesis profiles: how long the property tests look, by `HYPOTHESIS_PROFILE`.

`fast` is the default; `ci`, the default where `CI` is set, always tries the same examples;
`slow` is for scheduled runs.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("fast", max_examples=60, stateful_step_count=30, deadline=None)
settings.register_profile(
    "ci", max_examples=200, stateful_step_count=40, deadline=None, derandomize=True, database=None
)
settings.register_profile(
    "slow",
    max_examples=5_000,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
DEFAULT = "ci" if os.environ.get("CI") else "fast"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", DEFAULT))
