"""The chart's README: ``make chart`` makes it of ``README.md.in`` and of what ``values.yaml`` says of each value.

It lies beside the chart, so that Helm packages the result alone.

    __main__ -> values
"""
