"""Amazon SQS: a message of a queue, in a FIFO queue in the task's order and once for its id."""

from __future__ import annotations

import contextlib
import re
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # type: ignore[import-untyped]

from receiver.configdestinations import DestinationConfig
from receiver.outbox.destination import Attempt, Delivered, GiveUp, TryAgain
from receiver.outbox.message import Message

_MAX_BYTES = 262_144  # what every queue takes, attributes included; newer ones take four times that, which no event has
_REGION_IN_HOST = re.compile(r"sqs\.([a-z0-9-]+)\.|([a-z0-9-]+)\.queue\.amazonaws\.")
_DEFAULT_REGION = "us-east-1"


class Session:
    """Acknowledged: SQS has stored it on several servers. A FIFO queue has it once within five minutes."""

    trouble: ClassVar[tuple[type[Exception], ...]] = (BotoCoreError, ClientError)

    def __init__(self, client: Any, resources: contextlib.AsyncExitStack, config: DestinationConfig) -> None:
        self._client = client
        self._resources = resources
        self._url = config.url

    @classmethod
    async def connect(cls, config: DestinationConfig) -> Self:
        """A client with the credentials AWS' own tools would find, for the host and region of the queue's URL."""
        parts, session = urlsplit(config.url), get_session()
        named = _REGION_IN_HOST.search(parts.hostname or "")
        region = (named[1] or named[2]) if named else session.get_config_variable("region") or _DEFAULT_REGION
        seconds = config.timeout.total_seconds()
        once = AioConfig(connect_timeout=seconds, read_timeout=seconds, retries={"total_max_attempts": 1})
        endpoint = f"{parts.scheme}://{parts.netloc}"
        async with contextlib.AsyncExitStack() as resources:
            client = await resources.enter_async_context(
                session.create_client("sqs", region_name=region, endpoint_url=endpoint, config=once)
            )
            return cls(client, resources.pop_all(), config)

    @property
    def is_open(self) -> bool:
        """Requests are made one by one; there is no connection to lose."""
        return True

    async def publish(self, message: Message) -> Attempt:
        """Send it. Raises the client's errors."""
        size = len(message.body) + len(message.id) + len(message.type) + len("idStringtypeString")
        if size > _MAX_BYTES:
            return GiveUp(reason=f"{size} bytes are more than the {_MAX_BYTES} of an SQS message")
        try:
            await self._client.send_message(**_request(message, self._url))
        except ClientError as error:
            return TryAgain(reason=_said_by_sqs(error))
        except NoCredentialsError:
            return TryAgain(reason="there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return Delivered()

    async def close(self) -> None:
        """Close the client's connections."""
        await self._resources.aclose()


def _request(message: Message, queue: str) -> dict[str, Any]:
    request: dict[str, Any] = {
        "QueueUrl": queue,
        "MessageBody": message.body.decode(),
        "MessageAttributes": {
            "id": {"DataType": "String", "StringValue": message.id},
            "type": {"DataType": "String", "StringValue": message.type},
        },
    }
    if queue.endswith(".fifo"):
        request["MessageGroupId"] = message.external_task_id or message.type
        request["MessageDeduplicationId"] = message.id
    return request


def _said_by_sqs(error: Any) -> str:
    said = error.response.get("Error", {})
    code = str(said.get("Code", ""))
    if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
        return "there is no such queue: create it, or correct the url"
    return f"SQS does not take it: {code} {said.get('Message', '')}".strip()
