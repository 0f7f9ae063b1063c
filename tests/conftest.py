"""Settings of all tests."""

from hypothesis import settings

# A deadline is an assertion about time: a busy machine would fail it.
settings.register_profile("dse", deadline=None)
settings.load_profile("dse")
