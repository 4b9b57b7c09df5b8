"""GET /openapi.json: what the routes take and answer, written from the closed sets that the code itself uses."""

from receiver.openapi.document import document, page

__all__ = ["document", "page"]
