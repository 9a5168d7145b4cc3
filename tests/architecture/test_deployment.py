"""The container files say what the operator's guide promises; read, not run."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.core import TyperGroup
from typer.main import get_command

from app.cli.main import app
from app.ledger.policies import Policy
from app.ledger.signers import Witness
from app.witness import server

ROOT = Path(__file__).parents[2]
SECRET = re.compile(r"PASSWORD|SECRET|(ACCESS|BOOTSTRAP)_KEY|SIGNING_KEYS|_URL$")
REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")
INTERPOLATED = re.compile(r"(?<!\$)\$\{?[A-Z_]")


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return loaded


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each stage of the Dockerfile, and under "" those before."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text())
    found: dict[str, list[tuple[str, str]]] = {"": []}
    stage = ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line.strip():
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.rpartition(" AS ")[2]
            found[stage] = []
        found[stage].append((word, rest.strip()))
    return found


SERVICES: dict[str, Any] = compose()["services"]
BUILT = {name: service for name, service in SERVICES.items() if "build" in service}
OURS = {name: service for name, service in BUILT.items() if name != "witness"}


def test_every_part_of_the_service_is_there() -> None:
    assert set(SERVICES) >= {"postgres", "redis", "store", "migrate", "api", "worker", "sweeper"}


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_every_service_says_whether_it_is_well(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]

    assert test[0] in {"CMD", "CMD-SHELL"}
    assert len(test) > 1


def test_no_secret_has_a_value_or_a_default() -> None:
    seen = set()
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            holds_secret = SECRET.search(name) and INTERPOLATED.search(value)
            if holds_secret or (SECRET.search(name) and not name.endswith("_URL")):
                assert REQUIRED.search(value), f"{name} must have no default"
                seen.add(name)

    assert seen >= {
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
        "ROOT_SECRET_KEY",
        "LETHE_DATABASE_URL",
        "LETHE_BROKER_URL",
        "LETHE_SECRET_KEY",
        "LETHE_SIGNING_KEYS",
        "LETHE_BOOTSTRAP_KEY",
        "AWS_SECRET_ACCESS_KEY",
    }


def test_nothing_interpolated_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()

    for found in re.findall(r"(?<!\$)\$\{[^}]*\}", re.sub(r"(?m)^#.*$", "", text)):
        assert REQUIRED.fullmatch(found), found


def test_images_are_pinned_to_a_version() -> None:
    for service in SERVICES.values():
        if "image" in service:
            _, _, tag = service["image"].partition(":")
            assert re.match(r"v?\d", tag), service["image"]


def test_our_containers_can_write_to_their_data_only() -> None:
    for name, service in BUILT.items():
        volume = "witness-data" if name == "witness" else "lethe-data"
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["volumes"] == [f"{volume}:/var/lib/lethe"], name
        assert "privileged" not in service, name


def test_a_witness_starts_when_asked_for_and_shares_nothing_with_the_service() -> None:
    witness = SERVICES["witness"]

    assert witness["profiles"] == ["witness"]
    assert not [name for name, service in OURS.items() if "profiles" in service]
    assert all(name.startswith("LETHE_WITNESS_") for name in witness["environment"])
    assert not any(INTERPOLATED.search(value) for value in witness["environment"].values())
    assert "depends_on" not in witness
    assert not [name for name, service in OURS.items() if "witness" in str(service)]


def accepted(words: Sequence[str]) -> dict[str, Any]:
    """Return what our command line makes of words behind ``lethe``; nothing is run.

    Raises:
        KeyError: There is no such command.
        Exception: It has no such options, or lacks an argument.
    """
    command: Any = get_command(app)
    rest = list(words)
    while rest and not rest[0].startswith("-") and isinstance(command, TyperGroup):
        command, *rest = command.commands[rest[0]], *rest[1:]
    params: dict[str, Any] = command.make_context("lethe", rest).params
    return params


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the words behind each ``lethe`` of shell commands, those of substitutions, too."""
    text = text.replace("\\\n", " ")
    for inner in re.findall(r"\$\(([^()]*)\)", text):
        yield from commands_of(inner)
    for line in re.sub(r"\$\([^()]*\)", "substituted", text).splitlines():
        words = shlex.split(line, comments=True)
        if "lethe" in words:
            yield words[words.index("lethe") + 1 :]


@pytest.mark.parametrize(
    "name", [n for n, s in SERVICES.items() if "lethe" in str(s.get("command"))]
)
def test_what_the_containers_run_is_accepted_by_our_command_line(name: str) -> None:
    command = SERVICES[name]["command"]
    line = command[-1] if command[0] == "sh" else shlex.join(command)

    [words] = commands_of(line.replace("&&", "\n"))
    accepted(words)


def test_every_command_of_the_guide_is_accepted_by_our_command_line() -> None:
    guide = (ROOT / "docs/operations.md").read_text()
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", guide)

    found = [words for block in blocks for words in commands_of(block)]
    assert len(found) >= 6
    for words in found:
        accepted(words)
    with pytest.raises(KeyError, match="trusts"):
        accepted(["witness", "trusts", "key"])
    with pytest.raises(Exception, match="No such option"):
        accepted(["witness", "--folder", "x"])


def test_the_witness_listens_where_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    witness = SERVICES["witness"]
    for variable, value in witness["environment"].items():
        monkeypatch.setenv(variable, value)
    values = accepted(witness["command"][1:])

    # All that it is told by its environment, and not something that the command does not read.
    told = [f"LETHE_WITNESS_{name.upper()}" for name in values]
    assert set(witness["environment"]) <= set(told)
    for variable, value in witness["environment"].items():
        assert str(values[variable.removeprefix("LETHE_WITNESS_").lower()]) == value
    assert values["host"] != "127.0.0.1"
    assert witness["volumes"] == [f"witness-data:{values['home']}"]
    assert f":{values['port']}/healthz'" in " ".join(witness["healthcheck"]["test"])
    assert "/healthz" in (server.__doc__ or "")
    guide = (ROOT / "docs/operations.md").read_text()
    assert f"http://witness:{values['port']}" in guide


def test_the_policy_of_the_guide_is_read() -> None:
    guide = (ROOT / "docs/operations.md").read_text()
    [example] = re.findall(r"(?ms)^```\n(witness .*?)^```", guide)
    filled = re.sub(
        r"(witness\.example/\w+)\+[0-9a-f]{8}\+BA\.\.\.",
        lambda found: str(Witness(found[1], Ed25519PrivateKey.generate()).key),
        example,
    )

    policy = Policy.parse(filled.encode())
    assert [party.url for party in policy.witnesses.values()] == [
        "https://witness.example/north",
        "https://witness.example/south",
    ]
    assert policy.quorum.wanted == 1


def test_our_containers_run_as_the_production_profile_on_shared_doors() -> None:
    for name, service in OURS.items():
        environment = service["environment"]
        assert environment["LETHE_PRODUCTION"] == "true", name
        assert environment["LETHE_DATABASE_URL"].startswith("postgresql://"), name
        assert environment["LETHE_BROKER_URL"].startswith("redis://"), name
        assert environment["LETHE_STORE_URL"].startswith("s3://"), name


def test_ports_are_open_to_this_machine_only() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_nothing_starts_before_the_schema_is_there() -> None:
    for name in ("api", "worker", "sweeper"):
        needs = SERVICES[name]["depends_on"]
        assert needs["migrate"] == {"condition": "service_completed_successfully"}


def test_redis_asks_for_a_password_and_evicts_nothing() -> None:
    words = shlex.split(SERVICES["redis"]["command"][-1])

    assert words[words.index("--maxmemory-policy") + 1] == "noeviction"
    assert words[words.index("--requirepass") + 1] == "$$REDIS_PASSWORD"


def test_volumes_and_targets_that_are_named_exist() -> None:
    declared = set(compose()["volumes"])
    used = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", ())}
    targets = {service["build"]["target"] for service in BUILT.values()}

    assert used == declared
    assert targets <= set(stages())


def test_the_cuda_file_changes_nothing_but_the_worker() -> None:
    (name, service), *more = compose("docker-compose.cuda.yml")["services"].items()

    assert (name, more) == ("worker", [])
    assert service["build"]["args"] == {"DEVICE": "cuda"}


@pytest.mark.parametrize("target", ["api", "worker"])
class TestImages:
    def test_has_one_base_and_runs_as_nobody_special(self, target: str) -> None:
        stage = stages()[target]

        assert stage[0] == ("FROM", f"base AS {target}")
        users = [rest for word, rest in stage if word == "USER"]
        assert users
        assert users[-1] not in {"root", "0"}
        after = stage[stage.index(("USER", users[-1])) :]
        assert not [word for word, _ in after if word in {"RUN", "COPY", "ADD"}]

    def test_says_whether_it_is_well(self, target: str) -> None:
        assert [word for word, _ in stages()[target]].count("HEALTHCHECK") == 1

    def test_installs_pinned_versions_only(self, target: str) -> None:
        runs = [rest for word, rest in (*stages()["base"], *stages()[target]) if word == "RUN"]

        for command in re.split(r"&&|;;", " ".join(f"{run} && " for run in runs)):
            if "pip install" in command:
                assert any(
                    pin in command
                    for pin in ("-c constraints.txt", "--no-deps", "'^torch==' constraints.txt")
                ), command


def test_only_the_worker_has_torch_and_on_the_cpu_unless_told() -> None:
    found = stages()

    assert "torch" not in " ".join(rest for _, rest in found["base"] + found["api"]).lower()
    assert ("ARG", "DEVICE=cpu") in found["worker"]
