"""Submits image tasks to Kling-compatible gateways and understands whatever they say.

No database, no web server, no callback secret: those are the receiver's.
"""

from submitter.client import ProviderClient
from submitter.createanswer import CreateAnswer
from submitter.errors import (
    Deferred,
    FieldProblem,
    InvalidRequest,
    JournalError,
    NotAtRest,
    Refused,
    SubmitterError,
    Unanswered,
    Unreadable,
    WatchError,
)
from submitter.httpwatch import HttpWatch
from submitter.ids import new_external_task_id
from submitter.journal import HttpJournal, Journal, Submission, TaskKey
from submitter.report import ReportedStatus, ResultImage, StatusReport, fingerprint
from submitter.request import ImageGenerationRequest, OmniImageRequest
from submitter.settings import ProviderSettings
from submitter.shown import ShownEvent, ShownImage, ShownState, ShownTask
from submitter.signatures import BadSignature
from submitter.submit import Submitted, Submitter
from submitter.watching import Watch

__all__ = [
    "BadSignature",
    "CreateAnswer",
    "Deferred",
    "FieldProblem",
    "HttpJournal",
    "HttpWatch",
    "ImageGenerationRequest",
    "InvalidRequest",
    "Journal",
    "JournalError",
    "NotAtRest",
    "OmniImageRequest",
    "ProviderClient",
    "ProviderSettings",
    "Refused",
    "ReportedStatus",
    "ResultImage",
    "ShownEvent",
    "ShownImage",
    "ShownState",
    "ShownTask",
    "StatusReport",
    "Submission",
    "Submitted",
    "Submitter",
    "SubmitterError",
    "TaskKey",
    "Unanswered",
    "Unreadable",
    "Watch",
    "WatchError",
    "fingerprint",
    "new_external_task_id",
]
