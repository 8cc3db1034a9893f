"""Where the members of a JSON object stand in its text, so that they can be compared as they are written."""

import json
from json.decoder import scanstring

DECODER = json.JSONDecoder()
BLANKS = " \t\r\n"


def after_blanks(text, at):
    while text[at] in BLANKS:
        at += 1
    return at


def members(text, at=0):
    """Members of the object that begins at `at`: key, key as it is written, value as it is written, in their order."""
    at = after_blanks(text, at)
    assert text[at] == "{", text[at : at + 40]
    at = after_blanks(text, at + 1)
    found = []
    while text[at] != "}":
        key, end = scanstring(text, at + 1)
        written = text[at:end]
        at = after_blanks(text, end)
        assert text[at] == ":", text[at : at + 40]
        start = after_blanks(text, at + 1)
        _, end = DECODER.raw_decode(text, start)
        found.append((key, written, text[start:end]))
        at = after_blanks(text, end)
        if text[at] == ",":
            at = after_blanks(text, at + 1)
    return found


def items(text, at=0):
    """Items of the array that begins at `at`, as they are written."""
    at = after_blanks(text, at)
    assert text[at] == "[", text[at : at + 40]
    at = after_blanks(text, at + 1)
    found = []
    while text[at] != "]":
        _, end = DECODER.raw_decode(text, at)
        found.append(text[at:end])
        at = after_blanks(text, end)
        if text[at] == ",":
            at = after_blanks(text, at + 1)
    return found


def tree(paths):
    """Declared paths (`sender.id`) as nested names; a leaf is None."""
    root = {}
    for path in paths:
        *above, name = path.split(".")
        level = root
        for part in above:
            level = level.setdefault(part, {})
        level[name] = None
    return root


def undeclared(text, declared):
    """What `declared` does not name, as it is written and in its order; what is within declared objects under its name."""
    rest, within = [], {}
    for key, written, value in members(text):
        if key not in declared:
            rest.append((written, value))
        elif declared[key] is not None and value.startswith("{"):
            inner = undeclared(value, declared[key])
            if inner != ([], {}):
                within[key] = inner
    return rest, within


def written_at(text, path):
    """The value at a path as it is written; None where it is missing or null."""
    for part in path.split("."):
        if text is None or not text.startswith("{"):
            return None
        text = next((value for key, _, value in members(text) if key == part), None)
    return None if text == "null" else text
