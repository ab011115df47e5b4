"""Defects of the queue: each in the Lua scripts and in the memory queue alike."""

from __future__ import annotations

from tests.planted.defect import ACTIVITY_MACHINE, CHAOS, Defect
from tests.planted.edits import Edit

_MEMORY = "harness.simulation.queue.memory_queue:MemoryQueue"
_STEP = "harness.simulation.queue.step"
_BOOKS = "harness.simulation.queue.books:Books"

DESTRUCTIVE_POP = Defect(
    name="destructive-pop",
    imitates="agentexec 0.3.0 pops with RPOP's blocking form: from then on only one process has the task",
    breaks="a worker that is killed takes its tasks with it",
    part="script step",
    scenario="kill-worker",
    also=("lose-reply",),
    edits=(
        Edit(
            where="lua/step.lua",
            old="""  send('HSET', HOLDER, holders)
  send('ZADD', LEASE, deadlines)
""",
            new="",
        ),
        Edit(where="lua/step.lua", old="if held ~= token then", new="if held and held ~= token then"),
        Edit(
            where="lua/renew.lua",
            old="if gone or holder(id) ~= token then",
            new="if not holder(id) then\n  elseif gone or holder(id) ~= token then",
        ),
        Edit(
            where=f"{_STEP}:_hold",
            old="""    books.holder[task_id] = Holder(token, worker)
    books.lease.add(task_id, deadline)
""",
            new="    pass\n",
        ),
        Edit(
            where=f"{_STEP}:_finish",
            old="if not books.holds(task_id, finish.token):",
            new="if task_id in books.holder and not books.holds(task_id, finish.token) or task_id not in books.job:",
        ),
        Edit(
            where=f"{_MEMORY}.renew",
            old="return set(leases) - set(kept), books.cancel.intersection(kept)",
            new="return {i for i in leases if i in books.holder} - set(kept), books.cancel.intersection(kept)",
        ),
    ),
)

FENCE_RESET = Defect(
    name="fence-reset",
    imitates="fencing tokens from a counter in Redis alone: FLUSHALL or a failover begins again with 1",
    breaks="two runs of one task have the same token, and the older one can end the younger one's work",
    part="script step",
    scenario="flush-redis-early",
    edits=(
        Edit(
            where="lua/step.lua",
            old="math.max(tonumber(redis.call('GET', FENCE) or '0') + 1, now, lowest)",
            new="tonumber(redis.call('GET', FENCE) or '0') + 1",
        ),
        Edit(
            where=f"{_STEP}:take_step",
            old="max(books.fence + 1, now_us, request.lowest_token)",
            new="books.fence + 1",
        ),
        # The store relies on different tokens.
        Edit(
            where="agentexec.store.statements:STARTED",
            old="a.fence = v.token AND a.holder = v.worker)",
            new="a.fence = v.token)",
        ),
    ),
)

RENEWAL_STEALS_BACK = Defect(
    name="renewal-steals-back",
    imitates="a renewal that writes the lease without a check of its holder, as a bare EXPIRE or ZADD does",
    breaks="a worker that was frozen past its lease takes the task from the worker that runs it",
    part="script renew",
    scenario="pause-worker",
    blind={
        CHAOS: "the store refuses the stale token, and a worker asks it before the queue",
    },
    edits=(
        Edit(
            where="lua/renew.lua",
            old="""  if gone or holder(id) ~= token then
    lost[#lost + 1] = id
  else
""",
            new="""  if gone or redis.call('HEXISTS', JOB, id) == 0 then
    lost[#lost + 1] = id
  else
    redis.call('HSET', HOLDER, id, token .. '|' .. worker)
""",
        ),
        Edit(
            where=f"{_MEMORY}.renew",
            old="kept = [i for i, token in leases.items() if alive and books.holds(i, token)]",
            new="kept = [i for i in leases if alive and i in books.job]",
        ),
        Edit(
            where=f"{_MEMORY}.renew",
            old="            for task_id in kept:\n",
            new="""            for task_id in kept:
                books.holder[task_id] = Holder(leases[task_id], worker)
""",
        ),
    ),
)

LOCK_NOT_ON_FIRST_DELIVERY = Defect(
    name="lock-not-on-first-delivery",
    imitates="agentexec 0.3.0 checks the lock only where a task is requeued, so the first delivery has none",
    breaks="two tasks with one lock key run at the same time",
    part="script enqueue",
    scenario="locked-burst",
    blind={
        ACTIVITY_MACHINE: "its tasks have no lock keys",
    },
    edits=(
        Edit(
            where="lua/enqueue.lua",
            old="if admit(id, false) then",
            new="if redis.call('RPUSH', ready_list(leveled), id) > 0 then",
        ),
        Edit(
            where=f"{_MEMORY}._take",
            old="        return books.admit(task.task_id, self._now(), to_front=False)",
            new="        books.ready[task.level if 0 <= task.level < len(books.ready) else -1].append(task.task_id)\n"
            "        return True",
        ),
    ),
)

LOCK_FREED_BY_NON_OWNER = Defect(
    name="lock-freed-by-non-owner",
    imitates="agentexec 0.3.0 has a constant as its lock and deletes it at the end of a task, whichever task has it",
    breaks="the late end of a worker without a lease lets another task run beside the lock's holder",
    part="script step",
    scenario="kill-worker-locked",
    blind={
        ACTIVITY_MACHINE: "its tasks have no lock keys",
        CHAOS: "a worker asks the store first, which refuses its late end, so the queue does not receive it",
    },
    edits=(
        Edit(
            where="lua/step.lua",
            old="    finishes[#finishes + 1] = 0\n",
            new="""    local partition = redis.call('HGET', PART, id)
    leave_partition(id)
    if partition then redis.call('HSET', PART, id, partition) end
    finishes[#finishes + 1] = 0
""",
        ),
        Edit(
            where=f"{_STEP}:_finish",
            old="        return False\n",
            new="""        partition = books.part.get(task_id)
        books._leave_partition(task_id, now)
        if partition is not None:
            books.part[task_id] = partition
        return False
""",
        ),
    ),
)

ENQUEUE_NOT_IDEMPOTENT = Defect(
    name="enqueue-not-idempotent",
    imitates="a push that is sent again after its reply was lost, as redis-py's own retries do with LPUSH",
    breaks="one task is in the queue twice and two workers run it at once",
    part="script enqueue",
    scenario="messages-sent-twice",
    edits=(
        Edit(
            where="lua/enqueue.lua",
            old="if known[id] then",
            new="if false then",
        ),
        Edit(
            where=f"{_MEMORY}.enqueue",
            old="if task.task_id in books.job:",
            new="if False:",
        ),
    ),
)

RELEASE_BURNS_A_RETRY = Defect(
    name="release-burns-a-retry",
    imitates="a queue that counts deliveries, so that a shutdown costs an attempt as a failure or a crash does",
    breaks="after a few deployments a task that never failed is among the dead letters",
    part="script release",
    scenario="drain-pools-no-crash",
    edits=(
        Edit(where="lua/common.lua", old="if charge and shared ~= token then", new="if true then"),
        Edit(where=f"{_BOOKS}.requeue", old="if charge and shared != token:", new="if True:"),
    ),
)

DELAY_IN_WHOLE_SECONDS = Defect(
    name="delay-in-whole-seconds",
    imitates="a delay that is cut to whole seconds on its way into the queue",
    breaks="a task that is to run in half a second runs at once",
    part="hand-over record to queue",
    scenario="failing-tasks",
    blind={
        ACTIVITY_MACHINE: "it delays no task",
        CHAOS: "no chaos run delays tasks",
    },
    edits=(
        Edit(
            where="agentexec.queue.redis_queue:_place",
            old="milliseconds(task.delay)",
            new="milliseconds(int(task.delay))",
        ),
        Edit(
            where=f"{_MEMORY}._take",
            old="milliseconds(task.delay)",
            new="milliseconds(int(task.delay))",
        ),
    ),
)
