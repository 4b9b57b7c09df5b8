"""What one sandbox is told when it is made: seed, pace, credentials, limits, and which doubtful habits it has."""

from dataclasses import dataclass, field

from sandbox.faults import FaultPlan
from sandbox.signing import signing_key


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """Every default is a quiet, fast-answering provider whose tasks take as long as the real ones.

    Seconds are *provider seconds* where the comment says so, and take `pace` times as long in truth.
    """

    seed: int = 0
    pace: float = 1.0
    task_seconds: float | None = None  # real seconds for every task; None: 8 to 45 provider seconds, by hash
    faults: FaultPlan = field(default_factory=FaultPlan)

    api_key: str | None = None  # None: any bearer token will do
    kling_access_key: str | None = None  # with the secret key: Kling takes HS256 JWTs, and verifies them
    kling_secret_key: str | None = None
    webhook_secret: str | None = None  # whsec_…: Kling's callbacks are signed, a reseller's never are

    slots: int = 0  # images in work at once per gateway; 0: no limit
    retry_after: int | None = None  # seconds, on each 429; None: two provider seconds, rounded
    callback_timeout: float = 5.0  # real seconds
    max_callback_attempts: int = 3  # an assumption: retries are documented nowhere
    callback_retry_seconds: float = 1.0  # provider seconds before the first repetition, then doubling
    result_seconds: float = 60.0  # provider seconds that images live under `expire_results`
    lag_seconds: float = 5.0  # provider seconds that a task stays unknown under `not_exist_lag`

    # CometAPI balances over several upstream accounts: there, the same external id may be accepted (and paid) twice.
    duplicate_external_ids_accepted: bool = False
    query_by_external_id: frozenset[str] = frozenset({"kling", "powertokens"})
    lists_oldest_first: bool = False  # in which order Kling lists is documented nowhere
    lists_at_most: int = 500  # tasks on a page, whatever was asked for
    powertokens_wraps_queries: bool = True  # {"code":"success","data":{"status":"SUCCESS",…,"data":{Kling's}}}
    powertokens_quotes_errors: bool = False  # {"code":"fail_to_fetch_task","message":"<Kling's error as text>"}

    public_url: str | None = None  # where result images are reached; None: the address the create came to
    kept_tasks: int = 200_000
    kept_requests: int = 100_000

    def __post_init__(self) -> None:
        for name in ("pace", "slots", "callback_timeout", "max_callback_attempts", "kept_tasks", "kept_requests"):
            if getattr(self, name) < 0:
                raise ValueError(f"sandbox: {name} is {getattr(self, name)}, and must not be negative")
        if self.task_seconds is not None and self.task_seconds < 0:
            raise ValueError(f"sandbox: task_seconds is {self.task_seconds}, and must not be negative")
        if (self.kling_access_key is None) != (self.kling_secret_key is None):
            raise ValueError("sandbox: kling_access_key and kling_secret_key go together; give both or neither")
        if self.webhook_secret is not None:
            signing_key(self.webhook_secret)
        unknown = self.query_by_external_id - {"kling", "cometapi", "powertokens"}
        if unknown:
            raise ValueError(
                f"sandbox: query_by_external_id names {sorted(unknown)}; there are kling, cometapi, powertokens"
            )

    def seconds_between_tries(self) -> int:
        """What `Retry-After` says."""
        return round(2 * self.pace) if self.retry_after is None else self.retry_after
