"""`python -m gateway`, and the `interlock` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or what a supervisor started this process for; does not return."""
    if sys.argv[1:2] == ["--worker"]:
        # A worker never sees the command line's machinery: it costs memory in each of them.
        from gateway.worker import main as work

        sys.exit(work(int(sys.argv[2])))
    from gateway.cli import main as command

    command()


if __name__ == "__main__":
    main()
