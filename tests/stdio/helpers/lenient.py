"""Reads bytes in every way that some parser somewhere might, looking for a forbidden call.

usage: lenient.py < FRAMES

FRAMES holds one frame a line, in hexadecimal; a frame is anything a server may
have received, also many lines. For each it prints `harmless`, or `forbidden: ` and
the reading that makes it so. Forbidden are calls of `delete_note`, calls of
`write_note` with the path `/etc/shadow`, and the method `resources/read`.

It shares no code and no idea with the gate on purpose: it is not a validator but
the sum of the bad habits of parsers (encodings/json of Go, serde_json, JavaScript,
Python, C) that the gate has to be safe in front of.
"""

import json
import sys
import unicodedata

FORBIDDEN_TOOL = "delete_note"
GUARDED_TOOL = "write_note"
GUARDED_PATH = "/etc/shadow"
FORBIDDEN_METHOD = "resources/read"


class Pairs(list):
    """A JSON object with every pair that was written, duplicates too."""


DECODER = json.JSONDecoder(object_pairs_hook=Pairs, strict=False)


def decodings(data):
    for encoding, errors in (("utf-8", "replace"), ("utf-8", "ignore"), ("latin-1", "strict")):
        yield data.decode(encoding, errors)
    if b"\0" in data:
        yield data.decode("utf-16-le", "ignore")
        yield data.decode("utf-16-be", "ignore")


def lines(text):
    """Line ends by the specification, by universal newlines, and by str.splitlines."""
    yield from text.split("\n")
    if "\r" in text:
        yield from text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    yield from text.splitlines()


def trimmings(line):
    """The line itself, then without what parsers skip, cut off, or drop."""
    yield line
    yield line.split("\0")[0]
    yield line.replace("\0", "")
    opening = min((at for at in (line.find("{"), line.find("[")) if at >= 0), default=-1)
    if opening > 0:
        yield line[opening:]


def values(text):
    """Every JSON value at the start of the text, one behind the other, until none is left."""
    at = 0
    while at < len(text):
        while at < len(text) and (text[at].isspace() or text[at] in ",;\0\ufeff\x1e"):
            at += 1
        try:
            value, at = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        yield value


def spellings(word):
    """What a word may be taken for."""
    if isinstance(word, list) and not isinstance(word, Pairs) and len(word) == 1:
        word = word[0]  # JavaScript: String(["x"]) is "x"
    if not isinstance(word, str):
        return set()
    found = {word, word.split("\0")[0]}
    for _ in range(2):
        for spelling in list(found):
            visible = "".join(c for c in spelling if unicodedata.category(c) not in ("Cf", "Cs") and c != "\ufffd")
            found |= {visible, visible.strip(), visible.strip("\0"), spelling.casefold()}
            found |= {unicodedata.normalize("NFKC", visible).casefold().strip()}
    return found


def lookup(mapping, key):
    """All values that a lookup of the key may find."""
    if isinstance(mapping, str):
        mapping = next(iter(values(mapping)), None)  # encoded twice
    if not isinstance(mapping, Pairs):
        return
    for name, value in mapping:
        if key in spellings(name):
            yield value


def paths(arguments):
    return list(lookup(arguments, "path"))


def requests(message):
    """Every (methods, parameters) that the message may be read to hold."""
    if isinstance(message, list) and not isinstance(message, Pairs):
        for element in message:
            yield from requests(element)
        # A struct read positionally: some element is the method, some the parameters.
        yield message, message
    else:
        yield list(lookup(message, "method")), list(lookup(message, "params"))


def is_forbidden(message):
    for methods, bodies in requests(message):
        spelt = set().union(*map(spellings, methods))
        if FORBIDDEN_METHOD in spelt:
            return True
        if "tools/call" not in spelt:
            continue
        for tool, arguments in (call for body in bodies for call in called(body)):
            names = spellings(tool)
            if FORBIDDEN_TOOL in names or (GUARDED_TOOL in names and GUARDED_PATH in paths(arguments)):
                return True
    return False


def called(body):
    """Every (tool, arguments) that the parameters of `tools/call` may be read to hold."""
    if isinstance(body, list) and not isinstance(body, Pairs) and body:
        yield body[0], body[1] if len(body) > 1 else Pairs()
        return
    arguments = list(lookup(body, "arguments")) or [Pairs()]
    for name in lookup(body, "name"):
        for each in arguments:
            yield name, each


def forbidden(frame):
    """The first reading of the frame that is a forbidden call, or None."""
    seen = set()
    for text in decodings(frame):
        for line in lines(text):
            for reading in trimmings(line):
                if reading in seen:
                    continue
                seen.add(reading)
                if any(map(is_forbidden, values(reading))):
                    return reading[:300]
    return None


def main():
    for line in sys.stdin:
        reading = forbidden(bytes.fromhex(line.strip()))
        print("harmless" if reading is None else f"forbidden: {reading!r}", flush=True)


main()
