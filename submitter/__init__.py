"""Submits image tasks to Kling-compatible gateways and understands whatever they say.

No database, no web server, no callback secret: those are the receiver's.
"""

from submitter.client import ProviderClient
from submitter.errors import (
    Deferred,
    FieldProblem,
    InvalidRequest,
    JournalError,
    Refused,
    SubmitterError,
    Unanswered,
    Unreadable,
)
from submitter.ids import new_external_task_id
from submitter.journal import HttpJournal, Journal, Submission, TaskKey
from submitter.report import ReportedStatus, ResultImage, StatusReport, fingerprint
from submitter.request import ImageGenerationRequest, OmniImageRequest
from submitter.settings import ProviderSettings
from submitter.signatures import BadSignature
from submitter.submit import Submitted, Submitter

__all__ = [
    "BadSignature",
    "Deferred",
    "FieldProblem",
    "HttpJournal",
    "ImageGenerationRequest",
    "InvalidRequest",
    "Journal",
    "JournalError",
    "OmniImageRequest",
    "ProviderClient",
    "ProviderSettings",
    "Refused",
    "ReportedStatus",
    "ResultImage",
    "StatusReport",
    "Submission",
    "Submitted",
    "Submitter",
    "SubmitterError",
    "TaskKey",
    "Unanswered",
    "Unreadable",
    "fingerprint",
    "new_external_task_id",
]
