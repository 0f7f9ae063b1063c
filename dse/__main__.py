"""What ``dse`` and ``python -m dse`` start: Ctrl-C is answered from the first moment, before anything large is imported."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Entry point of the command line."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from dse.cli import main as run

    run()


if __name__ == "__main__":
    main()
