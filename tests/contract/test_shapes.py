"""The contract keeps one shape: requests and responses, lists, watches, updates, ids of requests, enums, imports."""

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from chatter_grpc._gen.chatter.options.v1 import policy_pb2, rules_pb2
from chatter_grpc.core.pages import DEFAULT_SIZE, MAX_SIZE
from tests.support.contract import FILES, SERVICES, messages, reached_from

METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
BY_CURSOR = "ListRunEvents"
READS = ("Get", "List", "Watch", "Search")


def rules(field: FieldDescriptor) -> rules_pb2.FieldRules:
    return field.GetOptions().Extensions[rules_pb2.rules]


def type_of(field: FieldDescriptor) -> str:
    return "" if field.message_type is None else field.message_type.full_name


def test_the_contract_imports_google_protobuf_and_itself_only() -> None:
    imports = {imported.name for file in FILES for imported in file.dependencies}
    assert not {name for name in imports if not name.startswith(("google/protobuf/", "chatter/"))}


def test_every_method_has_a_request_and_a_response_of_its_own() -> None:
    wrong = [
        method.full_name
        for method in METHODS
        if (method.input_type.name, method.output_type.name) != (f"{method.name}Request", f"{method.name}Response")
    ]
    assert not wrong


def test_every_list_is_paged() -> None:
    lists = [method for method in METHODS if method.name.startswith(("List", "Search")) and method.name != BY_CURSOR]
    assert lists
    for method in lists:
        asked, answered = method.input_type.fields_by_name, method.output_type.fields_by_name
        assert rules(asked["page_size"]).range.HasField("min"), method.full_name
        assert (asked["page_size"].number, asked["page_token"].number) == (1, 2), method.full_name
        assert answered["next_page_token"].type == FieldDescriptor.TYPE_STRING, method.full_name
        assert [field for field in method.output_type.fields if field.is_repeated], method.full_name


def test_a_log_is_paged_by_the_cursors_of_those_who_watch_it() -> None:
    (method,) = [method for method in METHODS if method.name == BY_CURSOR]
    asked, answered = method.input_type.fields_by_name, method.output_type.fields
    assert rules(asked["page_size"]).range.HasField("min")
    assert (asked["page_size"].number, asked["cursor"].number) == (1, 2)
    assert [(field.name, field.number, field.is_repeated) for field in answered] == [
        ("cursor", 1, False),
        ("events", 2, True),
        ("control", 3, False),
        ("finished", 4, False),
    ]


def test_a_response_that_is_not_a_page_holds_no_list_of_resources() -> None:
    lists = {
        f"{method.output_type.name}.{field.name}"
        for method in METHODS
        if "next_page_token" not in method.output_type.fields_by_name
        and not method.server_streaming
        and method.name != BY_CURSOR
        for field in method.output_type.fields
        if field.is_repeated
    }
    # Bounded by the configuration and by the number of scopes.
    assert lists == {"GetServerInfoResponse.models", "GetMeResponse.scopes"}


def test_the_pages_sizes_are_as_documented() -> None:
    assert (DEFAULT_SIZE, MAX_SIZE) == (50, 1000)


def test_every_stream_is_a_watch_with_cursor_events_and_control() -> None:
    streams = [method for method in METHODS if method.server_streaming]
    assert {method.name for method in streams} == {"SendMessage", "RegenerateMessage", "WatchRun"}
    for method in streams:
        fields = [(field.name, field.number, field.is_repeated) for field in method.output_type.fields]
        assert fields == [("cursor", 1, False), ("events", 2, True), ("control", 3, False)], method.full_name
        assert type_of(method.output_type.fields_by_name["events"]) == "chatter.v1.RunEvent"
        assert type_of(method.output_type.fields_by_name["control"]) == "chatter.v1.StreamControl"


def test_an_update_takes_the_resource_and_a_mask_and_the_resource_has_an_etag() -> None:
    for method in METHODS:
        if method.name.startswith("Update"):
            fields = method.input_type.fields_by_name
            name = method.name.removeprefix("Update").lower()
            resource = fields["user" if name == "me" else name].message_type
            assert resource is not None
            assert "etag" in resource.fields_by_name
            assert type_of(fields["update_mask"]) == "google.protobuf.FieldMask"


def test_reads_say_that_they_have_no_side_effects_and_nothing_else_does() -> None:
    for method in METHODS:
        level = method.GetOptions().idempotency_level
        assert (level == MethodOptions.NO_SIDE_EFFECTS) is method.name.startswith(READS), method.full_name


def test_request_ids_are_short_and_required_where_a_run_starts() -> None:
    for method in METHODS:
        policy = method.GetOptions().Extensions[policy_pb2.policy]
        starts = policy.rate_class == policy_pb2.RATE_CLASS_START
        field = method.input_type.fields_by_name.get("request_id")
        assert starts is (field is not None and rules(field).required), method.full_name
        if field is not None:
            assert (field.number, rules(field).length.max, rules(field).pattern) == (1, 36, "[!-~]+")
            level = method.GetOptions().idempotency_level
            assert (level == MethodOptions.IDEMPOTENT) is starts, method.full_name


def test_every_text_and_list_of_a_request_is_bounded() -> None:
    texts = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    loose = set()
    for method in METHODS:
        for field in reached_from(method.input_type):
            if field.containing_type is not None and field.containing_type.GetOptions().map_entry:
                continue
            if field.type in texts and not rules(field).length.max:
                loose.add(field.full_name)
            if field.is_repeated and not rules(field).items.max:
                loose.add(field.full_name)
    assert not loose


def test_what_is_secret_or_content_carries_debug_redact() -> None:
    secret = {"password", "access_token", "refresh_token", "email", "login", "display_name", "system_prompt"}
    content = {"text", "title", "description", "metadata"}
    open_fields = {
        field.full_name
        for message in messages()
        for field in message.fields
        if field.name in secret | content
        and field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE)
        and not field.GetOptions().debug_redact
    }
    # A message of text parts; the text inside of it is redacted.
    assert open_fields == {"chatter.v1.ContentPart.text"}


def test_every_enum_begins_with_unspecified() -> None:
    for file in FILES:
        for enum in file.enum_types_by_name.values():
            zero = enum.values_by_number[0].name
            assert zero.endswith("_UNSPECIFIED"), enum.full_name
            prefix = zero.removesuffix("UNSPECIFIED")
            assert all(value.name.startswith(prefix) for value in enum.values), enum.full_name


def test_chatters_extensions_have_their_own_numbers() -> None:
    numbers = {extension.number for file in FILES for extension in file.extensions_by_name.values()}
    assert numbers
    assert numbers <= set(range(76400, 76500))
