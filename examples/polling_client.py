"""A client that knows nothing of hookledger: the loop of the gateways' own documentation, in plain httpx.

    BASE_URL=https://api.cometapi.com API_KEY=… python examples/polling_client.py "a lighthouse in the fog"

Change one thing, the base URL, and it costs its provider no queries any more:

    BASE_URL=http://127.0.0.1:8080/gateway/cometapi API_KEY=hlk_… python examples/polling_client.py "a lighthouse"

IMAGES_PATH is /kling/v1/images/omni-image at CometAPI and PowerTokens, /v1/images/omni-image at Kling.
"""

import argparse
import json
import os
import sys
import time

import httpx

FINISHED = ("succeed", "failed")


def main() -> int:
    """Create, poll, print the finished task as JSON; the exit code says whether there are images."""
    arguments = _arguments()
    headers = {"Authorization": f"Bearer {os.environ.get('API_KEY', 'any')}"}
    with httpx.Client(base_url=os.environ["BASE_URL"], headers=headers, timeout=60) as client:
        try:
            task = draw(client, arguments)
        except httpx.HTTPStatusError as error:
            print(f"HTTP {error.response.status_code}: {error.response.text}", file=sys.stderr)
            return 1
    print(json.dumps(task, indent=2))
    return 0 if task["task_status"] == "succeed" else 1


def draw(client: httpx.Client, arguments: argparse.Namespace) -> dict:
    """The task, once it is finished."""
    path = os.environ.get("IMAGES_PATH", "/kling/v1/images/omni-image")
    order = {"model_name": arguments.model, "prompt": arguments.prompt, "n": arguments.n}
    if arguments.external_task_id:
        order["external_task_id"] = arguments.external_task_id
    task = _data(client.post(path, json=order))
    while task["task_status"] not in FINISHED:
        time.sleep(arguments.every)
        task = _data(client.get(f"{path}/{task['task_id']}"))
    return task


def _data(answer: httpx.Response) -> dict:
    """What is in the envelope. Some gateways put errors into an HTTP 200: the code decides."""
    body = answer.raise_for_status().json()
    if str(body["code"]) != "0":
        raise httpx.HTTPStatusError(body["message"], request=answer.request, response=answer)
    return body["data"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt")
    parser.add_argument("-n", type=int, default=1, help="how many images")
    parser.add_argument("--model", default="kling-v3-omni")
    parser.add_argument("--external-task-id", default="")
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two looks")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
