"""Prometheus exporter for the progress of Cortex XDR script executions.

Data goes one way, and so do imports (asserted by tests/unit/test_dependencies.py)::

    schedule, ratelimit ─▶ poller ─▶ store ─▶ exposition ─▶ web
                              │
            transport ◀─ cortex ─▶ status

``cli`` alone knows them all, and hands them what ``config`` and ``flags`` say. ``schedule``, ``ratelimit``,
``status`` and ``exposition`` decide and render: they do no input or output and take the time as an argument.
"""

__version__ = "0.1.0"
