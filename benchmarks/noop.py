"""The competitor: a Starlette endpoint that reads the body and answers, and keeps nothing."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def answer(request: Request) -> Response:
    """200 and a verdict of no worth."""
    await request.body()
    return Response(b'{"verdict":"applied"}', media_type="application/json")


app = Starlette(routes=[Route("/callbacks/{provider}/{external_task_id}/{token}", answer, methods=["POST"])])
