"""A real Neo4j Community for the tests: from Maven's artefacts, on the Java that is there, without an installation.

The jars (118 MB) are fetched once into the state folder and found there by later runs. The server is a process of its
own, on a free loopback port, with authentication on; it ends with the tests, also when they are killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import neo4j

from concordance.settings import ROOT, Settings, load_settings
from support.stacks import free_ports
from support.waiting import wait_for

REQUIRE = "CONCORDANCE_REQUIRE_NEO4J"
FETCH_SECONDS = 900
START_SECONDS = 180
# Small enough for a test to reach, large enough for every honest batch of the tests.
TRANSACTION_BYTES = 16 * 1024 * 1024
_HERE = Path(__file__).parent / "neo4j"
_POM = _HERE / "pom.xml"


def why_not() -> str | None:
    """Why no Neo4j can be started here; None when one can."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            return f"{program} is not installed: a real Neo4j needs java 17 and mvn"
    found = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    major = re.search(r'version "([0-9]+)', found)
    if major is None or int(major[1]) < 17:
        return "java is older than 17, which Neo4j needs"
    return None


def is_required() -> bool:
    return os.environ.get(REQUIRE) == "1"


def jars() -> Path:
    """The folder with Neo4j's jars, fetched when they are not there or the pom has changed."""
    folder = ROOT / ".concordance" / "neo4j"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "pom.xml"
        if not done.exists() or done.read_bytes() != _POM.read_bytes():
            shutil.rmtree(folder / "lib", ignore_errors=True)
            _fetch(folder / "lib")
            shutil.copyfile(_POM, done)
    return folder / "lib"


def _fetch(target: Path) -> None:
    command = ["mvn", "--batch-mode", "--quiet", "--file", str(_POM), "dependency:copy-dependencies"]
    fetched = subprocess.run(
        [*command, "-DincludeScope=runtime", f"-DoutputDirectory={target}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=FETCH_SECONDS,
        check=False,
    )
    assert fetched.returncode == 0, f"mvn could not fetch Neo4j:\n{fetched.stdout[-2000:]}{fetched.stderr[-2000:]}"


@contextlib.contextmanager
def running(folder: Path, *, transaction_bytes: int = TRANSACTION_BYTES) -> Iterator[Settings]:
    """A server with its data in `folder`; yields settings that lead to it, with a password of its own."""
    (port,) = free_ports(1)
    classpath = str(jars() / "*")
    # A server that lives for minutes on a busy machine: quick compilation and one thread for garbage suit it better.
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xmx640m"]
    launcher = ["java", *quick, "-cp", classpath, str(_HERE / "Neo4jServer.java")]
    with (folder / "neo4j.log").open("wb") as log:
        process = subprocess.Popen(
            [*launcher, str(folder / "home"), str(port), str(transaction_bytes)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        password = secrets.token_urlsafe(24)
        url = f"bolt://127.0.0.1:{port}"
        wait_for(lambda: _is_up(folder / "neo4j.log", process), seconds=START_SECONDS, what="the start of Neo4j")
        _set_password(url, password)
        yield load_settings(
            {
                "neo4j_url": url,
                "neo4j_user": "neo4j",
                "neo4j_password": password,
                "neo4j_database": "neo4j",
                "state_dir": folder,
            },
            environment={},
        )
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)


def _is_up(log: Path, process: subprocess.Popen[bytes]) -> bool:
    said = log.read_text(errors="replace")
    assert process.poll() is None, f"Neo4j ended with {process.returncode}:\n{said[-3000:]}"
    return "\nstarted" in f"\n{said}"


def _set_password(url: str, password: str) -> None:
    """A new server lets `neo4j` in with `neo4j`, and only to choose another password."""
    with (
        neo4j.GraphDatabase.driver(url, auth=("neo4j", "neo4j")) as driver,
        driver.session(database="system") as session,
    ):
        session.run("ALTER CURRENT USER SET PASSWORD FROM 'neo4j' TO $password", password=password).consume()
