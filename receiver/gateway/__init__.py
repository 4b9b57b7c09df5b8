"""/gateway/{provider}/…: the providers' own wire, served from the ledger."""

from receiver.gateway.routes import PATH, Gateway

__all__ = ["PATH", "Gateway"]
