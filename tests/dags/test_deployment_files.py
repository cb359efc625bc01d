"""airflow.cfg and docker-compose.yml: every option is known, no secret stands in them, and containers get little."""

from __future__ import annotations

import configparser
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from concordance.settings import ROOT, SECTION, Settings

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW = ("airflow-init", "api-server", "scheduler", "dag-processor", "triggerer")
MONITORING = ("statsd-exporter", "prometheus", "alertmanager", "grafana")
SECRET = ("PASSWORD", "SECRET", "KEY", "AUTH", "SQL_ALCHEMY_CONN")


def airflow_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "airflow.cfg")
    return parser


def known_options() -> set[tuple[str, str]]:
    import importlib.util

    found = importlib.util.find_spec("airflow")
    assert found is not None
    assert found.submodule_search_locations
    template = Path(found.submodule_search_locations[0], "config_templates", "config.yml")
    described = yaml.load(template.read_text(), Loader=yaml.CSafeLoader)
    return {(section, option) for section, body in described.items() for option in body["options"]}


def test_every_option_of_airflow_cfg_is_one_that_airflow_reads() -> None:
    parser = airflow_cfg()
    written = {(section, option) for section in parser.sections() if section != SECTION for option in parser[section]}
    assert written <= known_options()


def test_every_product_setting_of_airflow_cfg_exists() -> None:
    assert set(airflow_cfg()[SECTION]) <= set(Settings.model_fields)


def test_airflow_cfg_holds_no_secret_and_no_folder_of_one_machine() -> None:
    parser = airflow_cfg()
    for section in parser.sections():
        for option, value in parser[section].items():
            assert (
                not any(word in option for word in ("password", "secret_key", "jwt_secret", "fernet_key", "sql_"))
                or option.startswith("sql_alchemy_pool")
                or option == "sql_alchemy_max_overflow"
            ), option
            assert "/" not in value, option


def environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


@pytest.mark.parametrize("name", SERVICES)
def test_a_secret_comes_from_the_environment_or_compose_stops(name: str) -> None:
    for variable, value in environment(SERVICES[name]).items():
        if any(word in variable for word in SECRET) and not variable.endswith("AUTH_MANAGER"):
            assert ":?" in value, variable


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_runs_without_rights_and_within_limits(name: str) -> None:
    service = SERVICES[name]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


@pytest.mark.parametrize("name", set(SERVICES) - {"airflow-init"})
def test_a_service_shows_its_health_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_the_loopback_address_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_to_a_version(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert tag.lstrip("v")[0].isdigit()
    assert "." in tag


def test_the_airflow_image_is_built_from_the_lock_with_its_hashes() -> None:
    build = SERVICES["scheduler"]["build"]["dockerfile_inline"]
    assert "--require-hashes" in build
    assert "requirements.txt" in build
    assert "apache-airflow==3.3.2" in (ROOT / "requirements.txt").read_text().replace("[statsd]", "")
    assert all(SERVICES[name]["image"].endswith(":3.3.2") for name in AIRFLOW)


@pytest.mark.parametrize("name", AIRFLOW)
def test_airflow_reads_its_code_and_cannot_change_it(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    code = [volume for volume in service["volumes"] if volume.startswith((".", "$"))]
    assert {"./dags", "./plugins", "./include", "./airflow.cfg"} <= {volume.partition(":")[0] for volume in code}
    assert all(volume.endswith(":ro") for volume in code)


@pytest.mark.parametrize("name", MONITORING)
def test_what_watches_reads_its_files_and_can_change_nothing_but_its_own_volume(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    mounted = service["volumes"]
    assert all(volume.endswith(":ro") for volume in mounted if volume.startswith((".", "$")))
    assert len([volume for volume in mounted if not volume.endswith(":ro")]) <= 1


def test_what_watches_keeps_what_it_sees_for_a_limited_time_and_size() -> None:
    prometheus = SERVICES["prometheus"]["command"]
    assert any(argument.startswith("--storage.tsdb.retention.time=") for argument in prometheus)
    assert any(argument.startswith("--storage.tsdb.retention.size=") for argument in prometheus)
    assert any(argument.startswith("--data.retention=") for argument in SERVICES["alertmanager"]["command"])


def test_what_is_tested_is_what_is_deployed() -> None:
    tools = (ROOT / ".ci" / "monitoring-tools").read_text()
    for service, module in (("statsd-exporter", "statsd_exporter"), ("alertmanager", "cmd/alertmanager")):
        assert f"{module}@{SERVICES[service]['image'].rpartition(':')[2]}" in tools


def test_metrics_go_from_airflow_to_the_exporter_to_prometheus_to_grafana() -> None:
    sent = environment(SERVICES["scheduler"])
    assert sent["AIRFLOW__METRICS__STATSD_HOST"] in SERVICES
    assert f"--statsd.listen-udp=:{sent['AIRFLOW__METRICS__STATSD_PORT']}" in SERVICES["statsd-exporter"]["command"]
    monitoring = ROOT / "deploy" / "monitoring"
    read = yaml.safe_load((monitoring / "prometheus.yml").read_text())
    groups = [*read["scrape_configs"], *read["alerting"]["alertmanagers"]]
    targets = {target for group in groups for static in group["static_configs"] for target in static["targets"]}
    assert targets == {"statsd-exporter:9102", "127.0.0.1:9090", "alertmanager:9093"}
    (source,) = yaml.safe_load((monitoring / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((monitoring / "grafana/provisioning/dashboards/concordance.yml").read_text())[
        "providers"
    ]
    assert any(volume.endswith(f":{provider['options']['path']}:ro") for volume in SERVICES["grafana"]["volumes"])


def test_only_the_preparation_knows_the_secrets_of_the_stores() -> None:
    for name in set(AIRFLOW) - {"airflow-init"}:
        held = " ".join(environment(SERVICES[name]).values())
        assert not any(secret in held for secret in ("NEO4J_PASSWORD", "QDRANT_API_KEY", "LEDGER_PASSWORD"))


def test_the_watch_knows_the_stores_and_an_account_that_may_only_read_and_none_of_airflows_keys() -> None:
    known = environment(SERVICES["watch"])
    assert {"AIRFLOW__CONCORDANCE__AIRFLOW_PASSWORD", "AIRFLOW__CONCORDANCE__LEDGER_PASSWORD"} <= known.keys()
    assert all(name.startswith("AIRFLOW__CONCORDANCE__") for name in known if name.startswith("AIRFLOW__"))
    assert {name.removeprefix("AIRFLOW__CONCORDANCE__").lower() for name in known if "__CONCORDANCE__" in name} <= set(
        Settings.model_fields
    )
    assert 'find_role("Viewer"), watch' in (ROOT / "deploy" / "prepare.py").read_text()


def test_each_database_role_owns_its_own_database_and_no_more() -> None:
    roles = (ROOT / "deploy" / "postgres" / "roles.sql").read_text()
    assert roles.count("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :") == 2
    assert "REVOKE ALL ON DATABASE airflow, concordance, postgres, template1 FROM PUBLIC" in roles
    for service in AIRFLOW:
        assert "postgres:postgres" not in " ".join(environment(SERVICES[service]).values())


def test_what_is_mounted_from_the_repository_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (ROOT / volume.partition(":")[0]).exists(), volume


def test_named_volumes_are_declared_and_used() -> None:
    used = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "$"))
    }
    assert used == set(COMPOSE["volumes"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "new_env.py", tmp_path / "deploy")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    return tmp_path


def new_env(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(checkout / "deploy" / "new_env.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_first_step_writes_every_secret_for_its_owner_alone(checkout: Path) -> None:
    done = new_env(checkout)
    assert done.returncode == 0, done.stderr
    written = dict(line.split("=", 1) for line in (checkout / ".env").read_text().splitlines())
    asked = (ROOT / "docker-compose.yml").read_text()
    assert all(f"${{{name}:?" in asked for name in written)
    assert asked.count(":?run deploy/new_env.py}") >= len(written) == len(set(written.values()))
    assert stat.S_IMODE((checkout / ".env").stat().st_mode) == 0o600
    assert not any(value in done.stdout for value in written.values())


def test_secrets_that_are_there_are_never_overwritten(checkout: Path) -> None:
    (checkout / ".env").write_text("LEDGER_PASSWORD=mine")
    assert new_env(checkout).returncode == 0, "what an upgrade asks for is added"
    written = (checkout / ".env").read_text()
    assert written.startswith("LEDGER_PASSWORD=mine\n")
    assert written.count("LEDGER_PASSWORD=") == 1
    assert "GRAFANA_ADMIN_PASSWORD=" in written
    assert new_env(checkout).returncode == 1
    assert (checkout / ".env").read_text() == written


def test_compose_itself_accepts_the_file(checkout: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed here")
    new_env(checkout)
    done = subprocess.run(
        [docker, "compose", "--project-directory", str(checkout), "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
