"""Whether a component of Airflow is alive, by its heartbeat as the API server knows it. For docker-compose.yml.

One short request instead of Airflow's own command, which imports Airflow for seconds at every check.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from urllib.parse import urlsplit


def main(component: str) -> int:
    """Exit code 0 when the component (`metadatabase` for the API server itself) is healthy, 1 when it is not."""
    server = urlsplit(os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"])
    connection = http.client.HTTPConnection(server.hostname or "", server.port, timeout=8)
    try:
        connection.request("GET", "/api/v2/monitor/health")
        status = json.loads(connection.getresponse().read())[component]["status"]
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        print(f"{component}: the API server does not say ({type(error).__name__})")
        return 1
    print(f"{component}: {status}")
    return 0 if status == "healthy" else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
