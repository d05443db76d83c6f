"""A simulated tenant of Cortex XDR: for the demo, the tests and the benchmarks.

``lives`` says how an action's endpoints fare, and ``tenant`` answers requests as the vendor's service does:
both are pure. ``server`` puts tenants on a socket, and ``demo`` fills one with actions worth looking at.
Nothing here imports from the exporter, and of the exporter only the demo mode imports this.
"""
