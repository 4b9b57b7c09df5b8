#!/bin/sh
# Submit and wait with nothing but curl: the receiver holds the answer until the task is at rest, so there is no loop.
#
#     RECEIVER=http://127.0.0.1:8080 PROVIDER=kling KEY=hlk_… sh examples/plain_http.sh "a lighthouse in the fog"
#
# The prompt goes into JSON as it is: it must hold neither quotation marks nor backslashes.
set -eu
receiver=${RECEIVER:-http://127.0.0.1:8080}
prompt=${1:?usage: plain_http.sh PROMPT}

ask() {
  curl --silent --show-error --fail-with-body --max-time 60 -H "Authorization: Bearer ${KEY:-none}" "$@"
}

field() {  # the first text of this name in the JSON on standard input
  sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" | head -n 1
}

# The key makes a repetition of this very line harmless: it answers the same task, and pays once.
task=$(ask "$receiver/v1/tasks" -H 'Content-Type: application/json' -H "Idempotency-Key: ${IDEMPOTENCY_KEY:-$(date +%s)-$$}" \
  -d "{\"provider\":\"${PROVIDER:-kling}\",\"endpoint\":\"omni-image\",\"request\":{\"prompt\":\"$prompt\"}}" |
  field external_task_id)
echo "submitted as $task" >&2

state=pending
while [ "$state" != succeeded ]; do
  case $state in failed | refused | expired) echo "$task $state" >&2; exit 1 ;; esac
  shown=$(ask "$receiver/v1/tasks/$task?wait=25")
  state=$(printf %s "$shown" | field state)
done
printf '%s\n' "$shown"
