"""Measurements, run by `make bench`. They print figures and assert nothing."""

import classifier  # noqa: F401 - before NumPy, as in a worker: it says with how many threads
