"""Write `.env` for docker-compose.yml: one generated secret for each `${NAME:?}` in it, readable by its owner alone.

    python3 deploy/new_env.py

Needs Python's standard library only. What an `.env` holds is never overwritten: the databases were made with its
secrets. Names that it lacks, after an upgrade, are added at its end.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(root: Path = ROOT) -> int:
    """Exit code 0 with secrets written, 1 when the file has all of them already."""
    target = root / ".env"
    known = target.read_text(encoding="utf-8") if target.exists() else ""
    needed = required((root / "docker-compose.yml").read_text(encoding="utf-8"))
    missing = [name for name in needed if not re.search(rf"^{name}=", known, re.MULTILINE)]
    if not missing:
        print(f"{target} has all secrets already and stays as it is", file=sys.stderr)
        return 1
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write("\n" if known and not known.endswith("\n") else "")
        file.writelines(f"{name}={_secret(name)}\n" for name in missing)
    print(f"{target}: {len(missing)} generated secrets. Log in as admin with AIRFLOW_ADMIN_PASSWORD")
    return 0


def required(compose: str) -> list[str]:
    """The variables that the file cannot do without, in alphabetical order."""
    return sorted(set(re.findall(r"\$\{([A-Z0-9_]+):\?", compose)))


def _secret(name: str) -> str:
    # Hexadecimal: some of them stand in URLs. The Fernet key has a form of its own.
    if name.endswith("FERNET_KEY"):
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(32)


if __name__ == "__main__":
    raise SystemExit(main())
