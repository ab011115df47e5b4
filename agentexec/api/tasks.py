"""The routes under /api/tasks."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from agentexec import activity
from agentexec.activity import Activity, ActivityDetailSchema, ActivityListSchema, Status
from agentexec.api.bodies import Created, Failure, NewTask, Refusal, ResultBody, StandingBody
from agentexec.api.guard import CALLER
from agentexec.api.service import Serving
from agentexec.errors import IdempotencyConflict, InvalidTask, PayloadTooLarge, QueueFull
from agentexec.masking import masked
from agentexec.task import UncheckedContext


def _bodies(model: type[BaseModel], *codes: int) -> dict[int | str, dict[str, Any]]:
    """The bodies of responses other than success, for the OpenAPI document."""
    return {code: {"model": model} for code in codes}


router = APIRouter(prefix="/api/tasks", tags=["tasks"])


def _within_limit(request: Request, service: Serving) -> None:
    seconds = service.limit.wait(request.scope[CALLER])
    if seconds is not None:
        detail = f"Too many tasks were created; wait {seconds} s and try again."
        raise HTTPException(429, detail, headers={"Retry-After": str(seconds)})


@router.post(
    "", status_code=202, dependencies=[Depends(_within_limit)], responses=_bodies(Refusal, 409, 413, 422, 429)
)
async def create(
    task: NewTask,
    request: Request,
    response: Response,
    service: Serving,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Created:
    """Record a task; it is durable with the response.

    Requests with the same `Idempotency-Key` are one task; 409 if the key belongs to a task with another name or in
    another queue.
    """
    known = service.task_names
    if known is not None and task.task_name not in known:
        names = ", ".join(known)
        raise HTTPException(422, f"There is no task {task.task_name!r}; this service takes: {names}.")
    note = None
    try:
        recorded = await service.client.enqueue(
            task.task_name,
            UncheckedContext(task.context),
            priority=task.priority,
            metadata=task.metadata,
            idempotency_key=idempotency_key,
            delay=task.delay,
        )
        agent_id = recorded.agent_id
    except PayloadTooLarge as error:
        raise HTTPException(413, str(error)) from None
    except IdempotencyConflict as error:
        raise HTTPException(409, str(error)) from None
    except InvalidTask as error:
        raise HTTPException(422, str(error)) from None
    except QueueFull as error:
        agent_id, note = error.agent_ids[0], str(error)
    root = quote(request.scope.get("root_path", "").rstrip("/"))
    response.headers["Location"] = f"{root}/api/tasks/{agent_id}"
    return Created(agent_id=agent_id, task_name=task.task_name, note=note)


@router.get("")
def list_tasks(
    service: Serving,
    status: Annotated[list[Status] | None, Query()] = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ActivityListSchema:
    """One page of tasks: running ones, then queued ones, then terminal ones."""
    with Session(service.client.engine) as session:
        found = activity.list(session, page=page, page_size=page_size, status=status)
    found.mask_secrets()
    return found


@router.get("/{agent_id}", responses=_bodies(Refusal, 404))
def read(agent_id: UUID, service: Serving) -> ActivityDetailSchema:
    """One task with its log."""
    with Session(service.client.engine) as session:
        found = activity.detail(session, agent_id)
    if found is None:
        raise _unknown(agent_id)
    found.mask_secrets()
    return found


@router.post("/{agent_id}/cancel", responses=_bodies(Refusal, 404) | _bodies(StandingBody, 202, 409))
def cancel(agent_id: UUID, response: Response, service: Serving) -> StandingBody:
    """Cancel a queued task at once (200), or ask a running one to stop (202); 409 for a terminal one."""
    standing = service.client.cancel([agent_id]).get(agent_id)
    if standing is Status.CANCELED:
        return StandingBody(agent_id=agent_id, status=standing)
    if standing is not None:
        response.status_code = 202
        note = "The request is recorded; its worker is asked to stop."
        return StandingBody(agent_id=agent_id, status=standing, note=note)
    response.status_code = 409
    return StandingBody(agent_id=agent_id, status=_standing(service, agent_id).status, note="It is over.")


@router.get(
    "/{agent_id}/result",
    response_model=ResultBody | StandingBody | Failure,
    responses=_bodies(Refusal, 404) | _bodies(StandingBody, 202) | _bodies(Failure, 409),
)
def result(agent_id: UUID, response: Response, service: Serving) -> ResultBody | StandingBody | Failure:
    """The result of a task (200); 202 while it is pending, 409 if it failed or was canceled."""
    row = _standing(service, agent_id)
    if row.status is Status.COMPLETE:
        return ResultBody(agent_id=agent_id, status=row.status, result=row.result)
    if row.status.terminal:
        response.status_code = 409
        error = "It was canceled." if row.error is None else masked(row.error)
        return Failure(agent_id=agent_id, status=row.status, error=error)
    response.status_code = 202
    response.headers["Retry-After"] = "1"  # seconds
    return StandingBody(agent_id=agent_id, status=row.status)


def _standing(service: Serving, agent_id: UUID) -> Any:
    query = select(Activity.status, Activity.result, Activity.error).where(Activity.agent_id == agent_id)
    with service.client.engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise _unknown(agent_id)
    return row


def _unknown(agent_id: UUID) -> HTTPException:
    return HTTPException(404, f"No task {agent_id} is recorded here.")
