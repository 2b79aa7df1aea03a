"""Patterns of the contract mean the same to RE2 and to Python."""

import pytest

from chatter_grpc.rpc.regex import compile_shared


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("[a-zA-Z0-9_-]+", "a_B-9", True),
        (r"[^@\s]+@[^@\s]+", "a@b", True),
        (r"[^@\s]+@[^@\s]+", "a b@c", False),
        (r"\d{2,3}", "123", True),
        (r"\d", "٣", False),
        (r"\w+", "ä", False),
        (r"a\.b\\", "a.b\\", True),
        ("(?:a|b)+?c", "abc", True),
        ("(?P<name>a)", "a", True),
        ("(?i)abc", "ABC", True),
        ("[(?=]+", "(?=", True),
        ("[]x]", "]", True),
    ],
)
def test_a_shared_pattern_matches_whole_texts_as_in_re2(pattern: str, text: str, matches: bool) -> None:
    assert bool(compile_shared(pattern).fullmatch(text)) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)",
        "(?!a)",
        "(?<=a)b",
        "(?<!a)b",
        r"(a)\1",
        "(?P<x>a)(?P=x)",
        "(a)?(?(1)b|c)",
        "(?>a)",
        "a++",
        "a*+",
        "a?+",
        "a{1,2}+",
        "(?#comment)",
        r"a\Z",
        r"\N{DIGIT ONE}",
        "a{1001}",
        "a{1,1001}",
        "(",
        "[",
    ],
)
def test_a_pattern_that_only_python_reads_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        compile_shared(pattern)
