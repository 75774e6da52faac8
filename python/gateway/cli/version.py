"""`interlock version`."""

from __future__ import annotations

import click


@click.command("version")
@click.option("--verbose", "-v", is_flag=True, help="Also the core, the interpreter, the machine.")
def command(verbose: bool) -> None:
    """Print the version."""
    from gateway._core import __version__, build_info

    click.echo(f"interlock {__version__}")
    if verbose:
        import platform

        from gateway import eventloop

        details = {
            "python": platform.python_version(),
            "loop": eventloop.name(),
            "system": platform.platform(),
        }
        for name, value in {**build_info(), **details}.items():
            if name != "version":
                click.echo(f"{name} {value}")
