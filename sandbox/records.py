"""What really happened: requests, faults applied and callbacks sent, in bounded memory."""

from collections import Counter, OrderedDict, deque
from dataclasses import asdict, dataclass

from sandbox.settings import SandboxSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request that came to a gateway; never its credentials."""

    at: float
    gateway: str
    kind: str  # create, query, list, batch
    endpoint: str
    external_task_id: str | None
    task_id: str | None
    http_status: int  # 0: the connection was dropped
    code: object

    def shown(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAttempt:
    """One callback that was sent, or lost on purpose."""

    at: float
    status: str
    claim: str
    shape: str
    attempt: int
    copy: int
    forged: bool
    signed: bool
    lost: bool
    http_status: int | None  # None: nobody answered
    error: str | None

    def shown(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)


class Records:
    """The sandbox's own books."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.requests: deque[Visit] = deque(maxlen=settings.kept_requests)
        self.faults: Counter[str] = Counter()
        self.visits: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.callbacks: Counter[str] = Counter()
        self._kept_tasks = settings.kept_tasks
        self._of_tasks: OrderedDict[str, tuple[set[str], list[CallbackAttempt]]] = OrderedDict()

    def visited(self, visit: Visit) -> None:
        """A gateway was asked something."""
        self.requests.append(visit)
        self.visits[f"{visit.gateway}.{visit.kind}"] += 1

    def created(self, gateway: str) -> None:
        """A create was accepted, and is paid."""
        self.accepted[gateway] += 1

    def befell(self, fault: str, *, task_id: str | None = None) -> None:
        """A fault was really applied: counted once a task, or each time where no task came of it."""
        if task_id is not None:
            applied = self._of(task_id)[0]
            if fault in applied:
                return
            applied.add(fault)
        self.faults[fault] += 1

    def called_back(self, task_id: str, attempt: CallbackAttempt) -> None:
        """A callback was sent, or lost."""
        self._of(task_id)[1].append(attempt)
        if attempt.lost:
            self.callbacks["dropped"] += 1
            return
        self.callbacks["attempted"] += 1
        if attempt.http_status is not None and 200 <= attempt.http_status < 300:
            self.callbacks["acknowledged"] += 1

    def of_task(self, task_id: str) -> tuple[frozenset[str], tuple[CallbackAttempt, ...]]:
        """The faults that befell a task, and its callbacks."""
        applied, attempts = self._of_tasks.get(task_id, (set(), []))
        return frozenset(applied), tuple(attempts)

    def _of(self, task_id: str) -> tuple[set[str], list[CallbackAttempt]]:
        if task_id not in self._of_tasks:
            self._of_tasks[task_id] = (set(), [])
            if len(self._of_tasks) > self._kept_tasks:
                self._of_tasks.popitem(last=False)
        return self._of_tasks[task_id]
