"""Contexts arrive as they were sent, or are refused at enqueue."""

from __future__ import annotations

import base64
import dataclasses
import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from agentexec.errors import InvalidTask
from agentexec.producer.encoding import write_context
from agentexec.task import TaskDefinition, UncheckedContext, decode_payload

MOMENT = datetime(2026, 5, 9, 7, 35, 1, 5, tzinfo=UTC)
T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"


class Aliased(BaseModel):
    user_id: int = Field(default=0, alias="uid")


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    user_id: int = 0
    inner_part: list[Aliased] = []


class Choices(BaseModel):
    x: int = Field(validation_alias=AliasChoices("a", AliasPath("b", "c")))


class OneWay(BaseModel):
    x: int = Field(serialization_alias="other")


class Crossed(BaseModel):
    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime
    id: UUID
    price: Decimal
    tags: set[int]
    pair: tuple[int, str]
    raw: bytes
    pause: timedelta
    day: date
    names: dict[int, str]
    color: Color
    path: Path
    address: IPv4Address


class WithJson(BaseModel):
    value: Json[list[int]]


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form
    @property
    def twice(self) -> int:
        return 2 * self.a


class Base64(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    raw: bytes


class Wrapped(BaseModel, Generic[T]):
    item: T


class Cat(BaseModel):
    kind: Literal["cat"] = Field(alias="petKind")


class Dog(BaseModel):
    kind: Literal["dog"] = Field(alias="petKind")
    barks: bool = True


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Private(BaseModel):
    name: str
    _connection: object = PrivateAttr(default_factory=object)


class Nested(BaseModel):
    parts: list[Private]
    by_name: dict[str, Private]


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Revealed(BaseModel):
    key: SecretStr

    @field_serializer("key", when_used="json")
    def _write(self, value: SecretStr) -> str:
        return value.get_secret_value()


class Excluded(BaseModel):
    a: int
    cache: int = Field(default=0, exclude=True)


class _Handle:
    def __init__(self, name: str) -> None:
        self.name = name


class WithHandle(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    handle: Annotated[
        _Handle,
        BeforeValidator(lambda value: _Handle(value) if isinstance(value, str) else value),
        PlainSerializer(lambda handle: handle.name),
    ]


class Anything(BaseModel):
    value: Any = None


class Mapped(RootModel[dict[str, datetime]]):
    pass


@dataclasses.dataclass
class Point:
    x: int


class WithPoint(BaseModel):
    point: Point
    either: int | str | datetime | UUID = 0


ARRIVING: list[Callable[[], BaseModel]] = [
    lambda: Aliased(uid=5),
    lambda: Camel(userId=5, innerPart=[Aliased(uid=1)]),
    lambda: Choices(a=5),
    lambda: OneWay(x=1),
    lambda: Crossed(a=1, b=2),
    lambda: Strict(
        at=MOMENT,
        id=UUID(int=5),
        price=Decimal("1.10"),
        tags={1, 2},
        pair=(1, "a"),
        raw=b"x",
        pause=timedelta(seconds=1.5),
        day=MOMENT.date(),
        names={1: "a"},
        color=Color.RED,
        path=Path("/a"),
        address=IPv4Address("127.0.0.1"),
    ),
    lambda: WithJson(value="[1,2]"),
    lambda: Computed(a=1),
    lambda: Base64(raw=base64.b64encode(b"\xff\x00")),
    lambda: Wrapped[Aliased](item=Aliased(uid=1)),
    lambda: Wrapped[datetime](item=MOMENT),
    lambda: Owner(pet=Dog(petKind="dog", barks=False)),
    lambda: Private(name="a"),
    lambda: Nested(parts=[Private(name="a")], by_name={"b": Private(name="b")}),
    lambda: Extra(a=1, b=[2, None]),
    lambda: Revealed(key=SecretStr("s3cret")),
    lambda: Excluded(a=1),
    lambda: WithHandle(handle=_Handle("a")),
    lambda: Anything(value={"a": [1, 2.5, None, {"b": "c"}]}),
    lambda: Mapped({"a": MOMENT}),
    lambda: WithPoint(point=Point(1), either="2026-05-09"),
    lambda: WithPoint(point=Point(1), either=str(UUID(int=1))),
    lambda: WithPoint(point=Point(1), either="7"),
]


@pytest.mark.parametrize("make", ARRIVING, ids=range(len(ARRIVING)))
@pytest.mark.parametrize("known", [False, True])
def test_a_context_arrives_as_it_was_sent(make: Callable[[], BaseModel], known: bool) -> None:
    context = make()

    async def handler(agent_id: UUID, context: Any) -> None: ...

    handler.__annotations__["context"] = type(context)
    definition = TaskDefinition("task", handler)
    written, _, payload = write_context("task", context, type(context) if known else None)
    name, raw = decode_payload(payload)
    assert (name, raw) == ("task", written)
    received = definition.validate(raw)
    assert received.model_dump() == context.model_dump() or isinstance(context, WithHandle)


class Masked(BaseModel):
    password: SecretStr


class MaskedBytes(BaseModel):
    inner: dict[str, list[SecretBytes]]


class Lossy(BaseModel):
    value: float

    @field_serializer("value")
    def _write(self, value: float) -> float:
        return round(value, 1)


class Narrow(BaseModel):
    part: Private


class Wider(Private):
    more: int = 1


class NotAgain(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str

    @field_validator("text")
    @classmethod
    def _once(cls, value: str) -> str:
        return value + "!"


class Reshaped(BaseModel):
    a: int

    @model_validator(mode="before")
    @classmethod
    def _needs_a_list(cls, value: Any) -> Any:
        if not isinstance(value, list):
            raise KeyError("no list")
        return {"a": value[0]}


class FailsToWrite(BaseModel):
    value: int = 0

    @field_serializer("value")
    def _write(self, value: int) -> int:
        raise RuntimeError("no")


class Numbers(RootModel[list[int]]):
    pass


REFUSED: list[tuple[BaseModel, str]] = [
    (Masked(password=SecretStr("s3cret")), r"JSON changes the field password \(SecretStr\)"),
    (MaskedBytes(inner={"a": [SecretBytes(b"s3cret")]}), r"JSON changes the field inner"),
    (Lossy(value=1.23), "JSON changes the field value"),
    (Narrow(part=Wider(name="a", more=2)), "JSON changes the field part"),
    (NotAgain(text="a"), "JSON changes the field text"),
    (Reshaped.model_validate([1]), "its validation raised KeyError"),
    (Excluded(a=1, cache=5), "JSON changes the field cache"),
    (Anything(value=MOMENT), r"JSON changes the field value \(datetime\)"),
    (Anything(value={1: "a"}), "JSON changes the field value"),
    (Anything(value={1, 2}), "JSON changes the field value"),
    (Anything(value=Color.RED), "JSON changes the field value"),
    (Anything(value=b"\xff"), "cannot be written as JSON"),
    (Anything(value="\0"), "cannot be written as JSON"),
    (Anything(value="\ud800"), "cannot be written as JSON"),
    (Anything(value=float("nan")), "JSON changes the field value"),
    (Lossy.model_construct(value=float("nan")), "cannot be written as JSON"),
    (WithPoint(point=Point(1), either=UUID(int=1)), r"JSON changes the field either \(UUID\)"),
    (Anything(value=object()), "cannot be written as JSON"),
    (FailsToWrite(), "cannot be written as JSON"),
    (Numbers([1, 2]), "is a JSON list, but has to be an object"),
    (RootModel[int](5), "is a JSON int, but has to be an object"),
    (WithJson.model_construct(value="x"), "does not arrive as it was sent: value: "),  # type: ignore[arg-type]  # the point of it
]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(("context", "says"), REFUSED, ids=range(len(REFUSED)))
@pytest.mark.parametrize("known", [False, True])
def test_a_context_that_would_not_arrive_is_refused_in_one_sentence(
    context: BaseModel, says: str, known: bool
) -> None:
    with pytest.raises(InvalidTask, match=says) as caught:
        write_context("task", context, type(context) if known else None)
    assert str(caught.value).startswith("The context of task ")
    assert "s3cret" not in str(caught.value)


class Wanted(BaseModel):
    number: int
    text: str = "default"


class AlsoFits(BaseModel):
    number: str


def test_a_tuple_may_arrive_as_a_list() -> None:
    assert write_context("task", Anything(value=(1, (2,))), None).received == Anything(value=[1, [2]])


def test_a_context_of_another_model_has_to_fit() -> None:
    written, received, _ = write_context("task", AlsoFits(number="07"), Wanted)
    assert (written, received) == ({"number": "07"}, Wanted(number=7))
    with pytest.raises(InvalidTask, match="The context of task does not fit Wanted: number: "):
        write_context("task", AlsoFits(number="x"), Wanted)
    with pytest.raises(InvalidTask, match="does not fit Wanted"):
        write_context("task", Aliased(uid=1), Wanted)
    with pytest.raises(InvalidTask, match="does not fit Wanted"):
        write_context("task", UncheckedContext({"text": "a"}), Wanted)
    assert write_context("task", UncheckedContext({"number": 1}), Wanted).received == Wanted(number=1)
    assert write_context("task", UncheckedContext({"a": 1}), None).written == {"a": 1}


def test_a_context_that_an_older_version_sent_is_read() -> None:
    """Field names and aliases are both read, so no task that is queued becomes invalid by an upgrade."""

    async def handler(agent_id: UUID, context: Camel) -> None: ...

    definition = TaskDefinition("task", handler)
    wanted = Camel(userId=5)
    assert definition.validate({"user_id": 5}) == definition.validate({"userId": 5}) == wanted


class Locked(BaseModel):
    user_id: int = Field(default=0, alias="uid")
    at: datetime = MOMENT
    inner: dict[str, int] = {"id": 1}


@pytest.mark.parametrize(
    "raw", [{}, {"user_id": 0}, {"uid": 0}, {"user_id": "0"}, {"user_id": "00"}, {"user_id": 0.0}], ids=str
)
def test_equal_contexts_have_equal_lock_keys(raw: dict[str, Any]) -> None:
    async def handler(agent_id: UUID, context: Locked) -> None: ...

    definition = TaskDefinition("task", handler, lock_key="user:{user_id}:{at}:{inner[id]}")
    key = "user:0:2026-05-09T07:35:01.000005Z:1"
    assert definition.lock_key(raw) == definition.lock_key(Locked(**raw)) == key


def test_a_context_that_does_not_fit_has_no_lock_key() -> None:
    async def handler(agent_id: UUID, context: Locked) -> None: ...

    with pytest.raises(InvalidTask, match="lock key"):
        TaskDefinition("task", handler, lock_key="{user_id}").lock_key({"user_id": "x"})
    with pytest.raises(InvalidTask, match="lock key"):
        TaskDefinition("task", handler, lock_key="{nothing}").lock_key({})


def test_a_number_that_json_cannot_read_back_is_refused_before_anything_is_written() -> None:
    with pytest.raises(InvalidTask, match="the_task"):
        write_context("the_task", UncheckedContext({"value": 10**5000}), None)


def test_digits_without_end_are_sent_as_text() -> None:
    digits = "7" * 5000
    assert digits.encode() in write_context("the_task", UncheckedContext({"value": digits}), None).payload
