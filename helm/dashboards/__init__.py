"""The Grafana dashboards as code: ``make dashboards`` writes them as JSON into the chart's files.

They are not in the package, and lie beside the chart, so that Helm packages the JSON alone.

    __main__ -> overview, action -> panels -> variables -> queries
"""
