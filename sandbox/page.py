"""The page at `/`: what the sandbox is, in plain text."""

from sandbox.faults import OPTIONS, FaultPlan

TEXT = """\
hookledger sandbox: the three Kling-compatible gateways, pretended. Nothing here is real, and nothing costs money.

Base URLs of the accounts (any bearer token will do, unless the sandbox was given one):
  {base}/kling         POST /v1/images/omni-image          POST /v1/images/generations
  {base}/cometapi      POST /kling/v1/images/omni-image    POST /kling/v1/images/generations
  {base}/powertokens   POST /kling/v1/images/omni-image    POST /kling/v1/images/generations
  GET the same path + /{{task_id}} to query; at Kling also + ?pageNum=1&pageSize=30 to list.

What really happened:
  GET  /sandbox/requests?gateway=   every create, query and list
  GET  /sandbox/tasks?gateway=      (or ?external_task_id=) the truth about every task, its faults and its callbacks
  GET  /sandbox/counts              how much of everything
  GET  /sandbox/faults              the rates in force
  POST /sandbox/faults              {{"drop": 0.2}} or {{"plan": "drop=0.2,duplicate=0.1"}} for the tasks to come
  POST /sandbox/callback            {{"task_id": "…", "body": …, "headers": {{…}}}} sends a callback by hand;
                                    {{"callback_url": "…"}} alone sends the test callback of a task that never was

A directive in the prompt says what befalls that task, whatever the rates:
  a red fox [[drop]]                [[duplicate,reorder]]          [[odd_shape=newer]]
  [[fail: the reason]]              [[seconds=2]] (real seconds)   [[clean]] (nothing at all)
The same seed and the same external_task_id meet the same faults.

Faults, each a rate from 0 to 1 or a directive:
{faults}
"""


def welcome(base: str) -> str:
    """The page for a sandbox at this address."""
    lines = []
    for name, line in FaultPlan.describe().items():
        options = f" [{' | '.join(OPTIONS[name])}]" if OPTIONS[name] else ""
        lines.append(f"  {name:<15} {line}{options}")
    return TEXT.format(base=base, faults="\n".join(lines))
