"""`harness images build`: the container images of the servers, built from Debian's packages."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from harness.progress import progress_on


def add_images(parser: ArgumentParser, common: ArgumentParser) -> None:
    """Add the actions of the command to its parser."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="build the images of Postgres, Redis and PgBouncer from Debian's packages",
        parents=[common],
    )
    build.add_argument("--force", action="store_true", help="rebuild existing images")
    build.set_defaults(run=build_images)


def build_images(options: Namespace) -> int:
    """Build the images of the containers backend and print their names; returns 0."""
    # Imported here, because it needs the Docker SDK.
    from harness.environments import images

    with progress_on() as progress:
        names = images.build_images(progress.step, force=options.force)
    print("\n".join(names))
    return 0
