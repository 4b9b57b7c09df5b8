"""Which bad days a task gets: rates, directives written into the prompt, and the seeded choice between them."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from sandbox.dice import chance, pick

# In a prompt, in the manner of test card numbers: [[drop]], [[duplicate,reorder]], [[odd_shape=newer]], [[fail: why]].
DIRECTIVE: Final = re.compile(r"\[\[([^\[\]]*)\]\]")
ALIASES: Final = {"fail": "failed"}
LONGEST_TASK_SECONDS: Final = 3600.0

TIMES = ("1", "2")  # how many first attempts a passing trouble meets
SILENCE = ("hangup", "504")


def _fault(help_line: str, *options: str) -> float:
    return field(default=0.0, metadata={"help": help_line, "options": options})


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """The share of tasks, 0 to 1, that each fault is to befall; several may befall one task."""

    drop: float = _fault("a callback is lost: by hash, or the final one", "final", "processing", "submitted")
    drop_all: float = _fault("every callback of the task is lost")
    final_only: float = _fault("only the final callback is ever sent (one documentation page has it so)")
    duplicate: float = _fault(
        "each callback is sent two or three times, at once or in turn",
        "2 together", "3 together", "2 apart", "3 apart",
    )  # fmt: skip
    delay: float = _fault("callbacks come 5 to 20 provider seconds late")
    reorder: float = _fault("the final callback comes first, then processing, then submitted")
    early: float = _fault("the submitted callback is sent, and waited for, before the create is answered")
    odd_shape: float = _fault(
        "callbacks of another shape than the documented one",
        "wrapped", "newer", "succeeded", "string_times", "float_times", "no_index", "null_task_info", "string_code",
    )  # fmt: skip
    unanswered: float = _fault("the create is accepted, but its answer is lost (hang-up or 504)", *SILENCE)
    lost_create: float = _fault("the create is not accepted, and never answered (hang-up or 504)", *SILENCE)
    busy: float = _fault("429/1302, too fast: the first attempts of an external id", *TIMES)
    slots_full: float = _fault("429/1303, parallel tasks over the limit: the first attempts", *TIMES)
    account: float = _fault("429/1101, account in arrears: the first attempts", *TIMES)
    blocked: float = _fault("429/1304, address not allowed: the first attempts", *TIMES)
    server_error: float = _fault("500/5000 and nothing is created: the first attempts", *TIMES)
    maintenance: float = _fault("503/5001 and nothing is created: the first attempts", *TIMES)
    http200_error: float = _fault(
        "an error code under HTTP 200, nothing is created: the first attempt", "1302", "5000", "1303"
    )
    slow: float = _fault("the create is answered 2 to 6 provider seconds late")
    html: float = _fault("a 502 HTML page instead of an answer, the task created or not", "created", "not_created")
    failed: float = _fault("the task fails; `[[fail: why]]` gives the reason")
    policy: float = _fault("the create is refused for good: 400/1301, content policy")
    forged: float = _fault(
        "a forger who has the callback URL contradicts the truth before it is sent", "opposite", "other_images"
    )
    forged_url: float = _fault("a forger posts to the callback URL with its last path segment altered")
    opposite: float = _fault("the true final callback is followed by an opposite one")
    foreign_ids: float = _fault("the gateway's task id is not the upstream's, which callbacks carry (not at Kling)")
    not_exist_lag: float = _fault("queries say for a while that the task does not exist")
    expire_results: float = _fault("the result images are gone (404) after a while")
    query_error: float = _fault(
        "every other query of the task is answered 500, 504 or 429", "mixed", "500", "504", "429"
    )

    def __post_init__(self) -> None:
        for name in FAULTS:
            rate = getattr(self, name)
            if not (math.isfinite(rate) and 0 <= rate <= 1):
                raise ValueError(f"fault {name}={rate}: a rate is a number from 0 to 1")

    @classmethod
    def parse(cls, text: str) -> "FaultPlan":
        """Read `drop=0.2,duplicate=0.1`; a bare name means 1. Raises ValueError naming what is wrong."""
        rates: dict[str, float] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, _, rate = item.partition("=")
            rates[known_fault(name.strip())] = _number(item, rate.strip() or "1")
        return cls(**rates)

    @classmethod
    def describe(cls) -> dict[str, str]:
        """Each fault's name and one line of help, in the order of their declaration."""
        return {each.name: str(each.metadata["help"]) for each in fields(cls)}

    def rates(self) -> dict[str, float]:
        """The faults that may happen, with their rates."""
        return {name: getattr(self, name) for name in FAULTS if getattr(self, name) > 0}


FAULTS: Final[tuple[str, ...]] = tuple(each.name for each in fields(FaultPlan))
OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {each.name: each.metadata["options"] for each in fields(FaultPlan)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What befalls one task: chosen once, by hash or by its prompt, and the dice for all that is left to chance."""

    seed: int
    key: str
    faults: Mapping[str, str]  # each with the argument its directive gave, or ""
    directed: bool = False
    seconds: float | None = None  # real seconds, from [[seconds=2]]

    def __contains__(self, fault: str) -> bool:
        return fault in self.faults

    def chance(self, kind: str) -> float:
        """A number in [0, 1) that is this task's own."""
        return chance(self.seed, self.key, kind)

    def option(self, fault: str) -> str:
        """Which way a fault goes: as its directive says, plainly where it says nothing, by hash under a rate."""
        if self.faults[fault] or self.directed:
            return self.faults[fault] or OPTIONS[fault][0]
        return pick(self.seed, self.key, f"{fault}.option", among=OPTIONS[fault])


def choose(plan: FaultPlan, *, seed: int, key: str, prompt: str) -> Choice:
    """Decide what befalls the task `key`. Directives replace the rates. Raises ValueError for one that is unknown."""
    given = [item for found in DIRECTIVE.findall(prompt) for item in _items(found)]
    if not given:
        befallen = {name: "" for name, rate in plan.rates().items() if chance(seed, key, name) < rate}
        return Choice(seed=seed, key=key, faults=befallen)
    arguments = dict(given)
    seconds = _seconds(arguments.pop("seconds")) if "seconds" in arguments else None
    arguments.pop("clean", None)
    faults = {known_fault(name): _argument(known_fault(name), value) for name, value in arguments.items()}
    return Choice(seed=seed, key=key, faults=faults, directed=True, seconds=seconds)


def known_fault(name: str) -> str:
    """The fault's name, aliases resolved. Raises ValueError with the nearest names."""
    name = ALIASES.get(name, name)
    if name in FAULTS:
        return name
    near = difflib.get_close_matches(name, FAULTS, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(FAULTS)}"
    raise ValueError(f"unknown fault {name!r}: {hint}")


def _items(directive: str) -> list[tuple[str, str]]:
    """Split `duplicate,odd_shape=newer`; after `name:` all the rest is that one's text, commas included."""
    head, colon, text = directive.partition(":")
    names = [part.strip() for part in head.split(",") if part.strip()]
    pairs = [(name.strip(), value.strip()) for name, _, value in (each.partition("=") for each in names)]
    if colon and pairs:
        pairs[-1] = (pairs[-1][0], text.strip())
    return pairs


def _argument(fault: str, value: str) -> str:
    options = OPTIONS[fault]
    if value and fault != "failed" and value not in options:
        allowed = f"one of {', '.join(options)}" if options else "no argument"
        raise ValueError(f"directive {fault}: {value!r} is not understood, it takes {allowed}")
    return value


def _seconds(text: str) -> float:
    seconds = _number("seconds", text)
    if not 0 <= seconds <= LONGEST_TASK_SECONDS:
        raise ValueError(f"directive seconds={text}: 0 to {LONGEST_TASK_SECONDS:.0f} are possible")
    return seconds


def _number(item: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{item!r}: {text!r} is not a number") from None
