"""Prometheus exporter for the progress of Cortex XDR script executions.

Data goes one way, and so do imports (asserted by tests/unit/test_dependencies.py)::

    tracking ─▶ schedule, ratelimit, patience ─▶ poller ─▶ store ─▶ exposition ─▶ web
                                                   │        │└────▶ survey ─▶ overview ─▶ web
                                                   │        └─────▶ state_file
                                transport ◀─ cortex ─▶ status

``cli`` alone knows them all. What ``config`` says becomes pollers in ``fleet``, at the start and with each reload,
which ``upkeep`` looks after. ``schedule``, ``ratelimit``, ``patience``, ``status``, ``pace``, ``store``,
``survey`` and ``exposition`` decide and render: they do no input or output and take the time as an argument.
``probe`` is a command of its own, which asks a running exporter and imports nothing of it.
"""

__version__ = "0.1.0"
