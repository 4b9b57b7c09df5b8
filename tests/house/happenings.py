"""Events for those who follow them, made through a receiver's own API."""

from __future__ import annotations

import httpx

from tests.house.commands import Running
from tests.patience import PATIENCE

ACCOUNT = """
[providers.cometapi]
base_url = "http://127.0.0.1:9"
api_key = "any"
[polling]
enabled = false
"""
KEY = "a-key-of-the-receiver"
WITH_KEY = f"{ACCOUNT}[api]\nkeys = ['{KEY}']\n"


def happen(receiver: Running, *names: str, key: str = "") -> None:
    """A task each that is written down and given up: its one event says that it expired."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=receiver.address, headers=headers, timeout=PATIENCE) as client:
        for name in names:
            request = {"provider": "cometapi", "endpoint": "omni-image", "request": {"prompt": "a fox"}}
            client.post("/v1/submissions", json={**request, "external_task_id": name}).raise_for_status()
            client.post(f"/v1/tasks/{name}/abandon").raise_for_status()
