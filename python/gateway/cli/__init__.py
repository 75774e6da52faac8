"""The command line: one module per verb, imported when it is asked for.

INVARIANT: nothing here decides anything; each verb says what it was told to a module below, and
words the outcome. Exit codes: 0 fine, 1 the check found problems, 2 usage, 64 invalid configuration
or policy, 69 a port or a server needed at start is not to be had, 70 internal error.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from gateway.cli.problems import EXIT_INTERNAL, EXIT_INVALID, EXIT_UNAVAILABLE, complain, report
from gateway.errors import SettingsError, StartError, UpstreamError

VERBS = {
    "run": "Enforce policies in front of one server, or of several.",
    "wrap": "Enforce a policy on a stdio server, for desktop clients.",
    "demo": "See it work: a bundled server, a policy, a real client.",
    "scan": "Tell what a server's tools do, how risky they are, and what to allow.",
    "check": "Find every problem of policies and configurations.",
    "explain": "Say which rule decides a call, and why.",
    "test": "Run test cases of a policy, on a simulated clock.",
    "replay": "Decide the calls of a log again by another policy.",
    "shadow": "See what shadow mode would have refused, and put a rule in force.",
    "convert": "Say a policy from elsewhere in this language.",
    "grant": "Make, list, rotate and revoke the tokens of grants.",
    "approvals": "List, read and decide the calls that wait for a person.",
    "diff": "Say what one policy allows and another does not.",
    "schema": "Print the JSON Schema of a document.",
    "log": "Look at a decision log, or make sure that it is whole.",
    "state": "Show or reset a limit table.",
    "version": "Print the version.",
}


class _Verbs(click.Group):
    """Imports a verb's module only when the verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = import_module(f"gateway.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def interlock() -> None:
    """Decide every MCP tool call before it reaches a server."""


def main() -> None:
    """Run the command line; does not return."""
    try:
        sys.exit(interlock(standalone_mode=False) or 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SettingsError as error:
        for problem in error.problems:
            complain(problem)
        sys.exit(EXIT_INVALID)
    except StartError as error:
        complain(error.problem)
        sys.exit(EXIT_UNAVAILABLE)
    except UpstreamError as error:
        report(f"error: {error}")
        sys.exit(EXIT_UNAVAILABLE)
    except BrokenPipeError:
        # The reader of a pipe has left, as `| head` does: nothing is wrong.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        import traceback

        traceback.print_exc()
        report(f"error: internal error: {error}")
        sys.exit(EXIT_INTERNAL)
