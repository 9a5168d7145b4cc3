"""The command ``lethe``."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from app.infra.settings import Settings, settings

app = typer.Typer(
    name="lethe",
    help="Takes training data out of deployed neural networks and proves what it did.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def configure(host: str | None, port: int | None, home: Path | None) -> Settings:
    """Return the settings with what the command line overrides, for this process and children."""
    chosen = {"LETHE_HOST": host, "LETHE_PORT": port, "LETHE_HOME": home}
    os.environ.update({name: str(value) for name, value in chosen.items() if value is not None})
    return settings()


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    home: Annotated[Path | None, typer.Option(help="Data folder.")] = None,
) -> None:
    """Run the whole service: API, worker and sweeper, until Ctrl-C."""
    from app.cli import up as service

    try:
        service.run(configure(host, port, home), lambda line: print(line, flush=True))
    except service.PortTaken as error:
        sys.exit(str(error))


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from app.cli.migrate import migrate as apply

    apply()


@app.command()
def sweep() -> None:
    """Run the dispatcher and sweeper, until Ctrl-C."""
    from workers.supervision import main as supervise

    supervise()


@app.command()
def worker(
    name: Annotated[str, typer.Option(help="Tells workers of one machine apart.")] = "worker",
) -> None:
    """Run one worker, until Ctrl-C."""
    from app.cli.processes import worker_command

    command = worker_command(name)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


@app.command()
def demo(
    seeds: Annotated[int, typer.Option(min=1, help="How often everything is done.")] = 3,
    most_epochs: Annotated[
        int, typer.Option(min=1, help="How far training looks for a better accuracy.")
    ] = 30,
) -> None:
    """Correct wrong labels and delete a person's rows on this machine; print one table."""
    try:
        from app.cli.demo.command import demo as show
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is missing: pip install 'lethe-unlearning[demo]'")
    show(seeds, most_epochs)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def verify(context: typer.Context) -> None:
    """Verify evidence offline; exits with 0 ok, 1 invalid, 2 malformed, 3 untrusted, 4 stale."""
    from app.ledger.verify import main as check

    sys.exit(check(context.args))


@app.command()
def replay(
    job: Annotated[str, typer.Argument(help="Id of the job.")],
    threads: Annotated[
        int | None, typer.Option(min=1, help="Torch threads; by default as many as it had.")
    ] = None,
) -> None:
    """Run a job again from what was recorded with it, compare, and change nothing.

    Exits with 0 identical bits, 1 another result, 3 agrees within the tolerance where bits cannot
    (other machine or threads), 4 an input was changed, 5 cannot be run again; 2 is wrong usage.
    """
    from app.cli.replay import replay as run_again

    sys.exit(run_again(job, threads))


log = typer.Typer(help="The log that audit entries are sealed into.", no_args_is_help=True)
app.add_typer(log, name="log")


@log.command()
def fsck() -> None:
    """Derive the whole tree again from the entries; exits with 1 if anything differs."""
    from app.cli.log import fsck as check

    sys.exit(check())


@log.command()
def rotate() -> None:
    """Let a new signing key take over in a moment; the service needs no restart."""
    from app.cli.log import rotate as renew

    renew()


@log.command()
def keys() -> None:
    """Print the keys of the log, for witnesses and auditors."""
    from app.cli.log import keys as show

    show()


witness = typer.Typer(help="Cosigns checkpoints of logs; belongs on a machine of somebody else.")
app.add_typer(witness, name="witness")

WitnessHome = Annotated[
    Path, typer.Option(envvar="LETHE_WITNESS_HOME", help="Folder of the key, logs and records.")
]
WitnessName = Annotated[
    str | None,
    typer.Option(envvar="LETHE_WITNESS_NAME", help="Of the key, such as witness.example/north."),
]
WITNESS_HOME = Path(".lethe-witness")


@witness.callback(invoke_without_command=True)
def witness_run(
    context: typer.Context,
    home: WitnessHome = WITNESS_HOME,
    name: WitnessName = None,
    host: Annotated[str, typer.Option(envvar="LETHE_WITNESS_HOST")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="LETHE_WITNESS_PORT")] = 8090,
) -> None:
    """Run a witness, until Ctrl-C."""
    if context.invoked_subcommand is None:
        from app.cli.witness import WitnessError, serve

        try:
            serve(home, name, host, port, lambda line: print(line, flush=True))
        except WitnessError as error:
            sys.exit(str(error))


@witness.command("key")
def witness_key(home: WitnessHome = WITNESS_HOME, name: WitnessName = None) -> None:
    """Print the witness's public key, making the key if there is none."""
    from app.cli.witness import WitnessError, key

    try:
        print(key(home, name))
    except WitnessError as error:
        sys.exit(str(error))


@witness.command("trust")
def witness_trust(
    vkey: Annotated[str, typer.Argument(help="Key of a log, as `lethe log keys` prints it.")],
    home: WitnessHome = WITNESS_HOME,
) -> None:
    """Let the witness cosign what a key of a log signs."""
    from app.cli.witness import MalformedPolicy, trust

    try:
        trust(home, vkey)
    except MalformedPolicy as error:
        sys.exit(str(error))


tenant_keys = typer.Typer(
    help="The keys of tenants, which wrap those of requests.", no_args_is_help=True
)
app.add_typer(tenant_keys, name="keys")


@tenant_keys.command("rotate")
def rotate_keys(
    tenant: Annotated[str | None, typer.Option(help="Only this one; by default all.")] = None,
) -> None:
    """Let new keys take over; the old ones are destroyed once nothing needs them."""
    from app.cli.keys import rotate as renew_keys

    sys.exit(renew_keys(tenant))


model_keys = typer.Typer(help="The keys that sign models.", no_args_is_help=True)
app.add_typer(model_keys, name="model-keys")


@model_keys.command("show")
def show_model_keys() -> None:
    """Print the public keys that count now."""
    from app.cli.model_keys import show

    show()


@model_keys.command("rotate")
def rotate_model_keys() -> None:
    """Let a new key take over; restart the service afterwards."""
    from app.cli.model_keys import rotate as renew

    renew()


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
