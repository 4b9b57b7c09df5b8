"""The dialects, by the `kind` of the account."""

from collections.abc import Mapping

from submitter.providers.base import Call, Capabilities, Provider, Received, Trust
from submitter.providers.cometapi import CometApi
from submitter.providers.family import KlingFamily
from submitter.providers.kling import Kling
from submitter.providers.powertokens import PowerTokens
from submitter.settings import Kind, ProviderSettings

__all__ = ["KINDS", "Call", "Capabilities", "Provider", "Received", "Trust", "provider_for"]

KINDS: Mapping[Kind, type[KlingFamily]] = {"cometapi": CometApi, "kling": Kling, "powertokens": PowerTokens}


def provider_for(name: str, settings: ProviderSettings) -> Provider:
    """The dialect of the account that the configuration calls `name`."""
    return KINDS[settings.kind](name, settings)
