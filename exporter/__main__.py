"""The command ``cortex-xdr-exporter``, which is the same as ``python -m exporter``.

The rule: it only loads the rest. No garbage is collected until the start is over: what a start makes is hardly
ever garbage, and to look through it again and again takes a tenth of the time.
"""

import gc
import sys


def main() -> int:
    """Load the command and run it; return its exit code."""
    gc.disable()
    from exporter import cli  # noqa: PLC0415 - not before collecting has ended

    gc.freeze()  # Modules stay: no later collection needs to look through them.
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
