"""One sentence as a `Request`: "qubit readout on ZCU216, under 30 ns, at most 5k LUT".

The sentence is cut from the left into phrases, the longest that fits at each place. A phrase is a pattern and a reader,
which returns the fields it sets, or says why they are not clear. What is no phrase and no filler is reported word for
word. Nothing is guessed: a phrase behind a `not`, phrases joined by `or` and two values for a field are reported, too.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from weft.config.compress import BASE_RECIPES, recipes
from weft.config.parts import BOARDS, PARTS, find_part
from weft.data.files import READERS
from weft.draft.request import Request
from weft.errors import ConfigError
from weft.section import nearest

LONGEST = 4000

Fields = dict[str, Any]
Reader = Callable[[re.Match[str]], Fields]


class _Unclear(Exception):
    """A phrase that was recognised and says nothing definite; the message tells what would."""


@dataclass
class _Piece:
    """A part of the sentence: a phrase with its fields, a word that is none, a filler, or a stop."""

    start: int
    end: int
    kind: str
    fields: Fields


def read_request(sentence: str) -> Request:
    """Return what a sentence asks for; `not_understood` holds the rest of it, word for word.

    Bounds are read as inclusive: "under 30 ns" is a latency of at most 30 ns.

    Raises:
        ConfigError: the sentence is empty, or longer than `LONGEST` characters.

    Example:
        >>> wish = read_request("fast qubit readout on ZCU216, under 30 ns")
        >>> wish.data, wish.part, wish.latency_ns, wish.not_understood
        ('qubit-readout', 'zcu216', 30.0, ('fast',))
    """
    if not sentence.strip():
        raise ConfigError("the sentence is empty; say what you want, as in 'jet tagging on VU13P, under 100 ns'")
    if len(sentence) > LONGEST:
        raise ConfigError(
            f"the sentence has {len(sentence)} characters, and weft reads up to {LONGEST}; say it shorter"
        )
    notes: list[str] = []
    pieces = list(_pieces(sentence, notes))
    _negations(pieces, sentence, notes)
    fields = _agreed(pieces, sentence, notes)
    left = tuple(_left(pieces, sentence))
    return Request(**fields, not_understood=left, notes=tuple(dict.fromkeys(notes)))


# ---- phrases

_UP = (
    r"under|below|within|(?:less|fewer|smaller|lower|shorter|faster) than|at (?:the )?most|max(?:imum|\.)?(?: of)?|"
    r"(?:no|not) (?:more|longer|higher) than|not (?:over|above)|up to|<=|=<|<|≤"
)
_LOW = (
    r"at least|min(?:imum|\.)?(?: of)?|(?:no|not) (?:less|lower|worse) than|not (?:under|below)|"
    r"(?:more|better|greater|higher|larger|longer) than|over|above|exceeding|>=|=>|>|≥"
)
_NEAR = r"about|around|roughly|approximately|approx\.?|nearly|almost|circa|ca\.?|~|≈"
_BOUND = rf"(?:(?P<up>{_UP})|(?P<low>{_LOW})|(?P<near>{_NEAR})|(?:exactly|=|of))?\s*"
_AFTER = (
    r"(?:\s*(?:(?P<up_after>or (?:less|fewer|lower|faster|below)|at most|max(?:imum)?)|"
    r"(?P<low_after>or (?:more|better|higher|above|greater)|at least|min(?:imum)?)))?"
)
_NUMBER = r"(?P<number>[-−+]?\d(?:[\d.,_'’]*\d)?(?:[eE][-+]?\d+)?)"
_COUNT = _NUMBER + r"(?:\s?(?P<factor>[kKmM]|thousand|million)(?![^\W\d_]))?"
_LINK = r"\s*(?:(?:of|is|are|be|at|:|must be|should be|has to be|to be)\s*)?"
_TIME = (
    r"(?P<unit>ps|ns|us|µs|μs|ms|s|sec|(?:pico|nano|micro|milli)?seconds?|picosecs?|nanosecs?|microsecs?|millisecs?)"
)
_NS = {"ps": 1e-3, "ns": 1.0, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9}
_PREFIXES = {"pico": "ps", "nano": "ns", "micro": "us", "milli": "ms", "sec": "s"}
_LATENCY = r"(?:inference |total )?(?:latency|delay)|(?:inference|response) time"
_NAMES = {
    "lut": r"LUTs?|look-?\s?up[- ]tables?",
    "ff": r"FFs?|flip-?\s?flops?|registers?",
    "dsp": r"DSPs?(?: slices?| blocks?)?",
    "bram_18k": r"BRAM(?:s|[ _-]?18k?s?)?|block[- ]RAMs?",
}
_METRICS = {
    "accuracy": r"(?:test |classification )?accuracy|accurate",
    "auc": r"(?:ROC )?AUC",
    "fidelity": r"(?:assignment |readout )?fidelity",
    "efficiency": r"signal efficiency",
}
_NAME = r"(?:'(?P<single>[^']+)'|\"(?P<double>[^\"]+)\"|(?P<bare>[^\W\d]\w*))"
_CLOCK = r"clock(?: (?:period|frequency|rate|speed))?"


def _direction(match: re.Match[str]) -> str | None:
    """Return `up`, `low`, `near` or None, from words in front of the number and behind it."""
    found = {name.removesuffix("_after") for name, text in match.groupdict().items() if text and name in _DIRECTIONS}
    if len(found) > 1:
        raise _Unclear("says both at most and at least")
    return found.pop() if found else None


_DIRECTIONS = ("up", "low", "near", "up_after", "low_after")


def _at_most(match: re.Match[str]) -> None:
    direction = _direction(match)
    if direction == "low":
        raise _Unclear("is a least, and weft takes a most here; write 'at most'")
    if direction == "near":
        raise _Unclear("is no bound; write 'at most' and the largest number that will do")


def _size(match: re.Match[str]) -> float:
    text = match["number"]
    if not re.fullmatch(r"\+?\d+(\.\d+)?([eE][-+]?\d+)?", text):
        raise _Unclear(f"holds '{text}', which can be read in several ways; write it as in 1500 or 1.5")
    return float(text)


def _count(match: re.Match[str], least: int = 1) -> int:
    text, factor = match["number"], match["factor"] or ""
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text) and not factor:
        return int(text.replace(",", ""))
    if re.fullmatch(r"\d{1,3}(\.\d{3})+", text) and not factor:
        raise _Unclear(f"holds '{text}', which may be a thousand times more or not; write it without the point")
    if factor == "m":
        raise _Unclear("holds the factor 'm', which is milli; write M for a million")
    scale = {"": 1, "k": 1000, "thousand": 1000, "M": 10**6, "million": 10**6}[
        factor if factor == "M" else factor.lower()
    ]
    value = _size(match) * scale
    if value != round(value) or value < least:
        raise _Unclear(f"is {value:g}, and a whole number of {least} or more is needed")
    return round(value)


def _share(match: re.Match[str]) -> float:
    value = _size(match) / 100
    if not 0 < value <= 1:
        raise _Unclear(f"is {match['number']} %, and a share lies between 0 and 100 %")
    return round(value, 12)


def _time_ns(match: re.Match[str]) -> float:
    unit = match["unit"].lower()
    unit = next((short for word, short in _PREFIXES.items() if unit.startswith(word)), unit)
    value = float(f"{_size(match) * _NS[unit]:.12g}")
    if value <= 0:
        raise _Unclear("is no time > 0")
    return value


def _latency(match: re.Match[str]) -> Fields:
    named = match.groupdict().get("what") or match.groupdict().get("what_after")
    if not named and _direction(match) is None:
        raise _Unclear("may be a latency or a clock period; write 'latency' or 'clock' beside it")
    if not named and match["unit"].lower() in ("s", "sec", "second", "seconds"):
        raise _Unclear("may be a latency or the time of the search; write 'latency' beside it, or minutes")
    _at_most(match)
    return {"latency_ns": _time_ns(match)}


def _cycles(match: re.Match[str]) -> Fields:
    _at_most(match)
    return {"latency_cycles": _count(match)}


def _interval(match: re.Match[str]) -> Fields:
    _at_most(match)
    return {"ii_cycles": _count(match)}


def _period(match: re.Match[str]) -> Fields:
    if _direction(match) is not None:
        raise _Unclear("bounds the clock, and weft takes one clock; write it without a bound")
    return {"clock_period_ns": _time_ns(match)}


def _frequency(match: re.Match[str]) -> Fields:
    if _direction(match) is not None:
        raise _Unclear("bounds the clock, and weft takes one clock; write it without a bound")
    mhz = _size(match) * {"k": 1e-3, "m": 1.0, "g": 1e3}[match["hz"][0].lower()]
    if mhz <= 0:
        raise _Unclear("is no frequency > 0")
    return {"clock_period_ns": float(f"{1e3 / mhz:.12g}")}


def _resource(name: str, match: re.Match[str]) -> Fields:
    _at_most(match)
    if match.groupdict().get("percent"):
        return {"bram_fraction" if name == "bram_18k" else f"{name}_fraction": _share(match)}
    return {name: _count(match, 0 if name in ("dsp", "bram_18k") else 1)}


def _none_of(name: str, match: re.Match[str]) -> Fields:
    if name in ("lut", "ff"):
        raise _Unclear("leaves nothing to build logic from")
    return {name: 0}


def _floor(name: str, match: re.Match[str]) -> Fields:
    direction = _direction(match)
    if direction == "up":
        raise _Unclear(f"is a most, and weft takes a least {name}; write 'at least'")
    if direction == "near":
        raise _Unclear("is no bound; write 'at least' and the smallest number that will do")
    if match["percent"]:
        return {name: _share(match)}
    value = _size(match)
    if not 0 < value <= 1:
        raise _Unclear(f"is {value:g}; write per cent as in 72 %, or a fraction between 0 and 1")
    return {name: value}


def _effort(name: str, match: re.Match[str]) -> Fields:
    _at_most(match)
    return {name: _count(match)}


def _minutes(match: re.Match[str]) -> Fields:
    _at_most(match)
    value = _size(match) * (60 if match["span"].lower().startswith("h") else 1)
    if value <= 0:
        raise _Unclear("is no time > 0")
    return {"minutes": value}


def _label(match: re.Match[str]) -> Fields:
    bare = match.groupdict().get("bare")
    name = match["single"] or match["double"] or bare
    if bare and bare.lower() in (*_FILLERS, *_NEGATIONS, "or", "column"):
        raise _Unclear("names no column; write it in quotes behind 'label'")
    return {"label": name}


def _jets(match: re.Match[str]) -> Fields:
    if match["many"] is None:
        return {"data": "jets-constituents"}
    if int(match["many"]) not in (8, 16):
        raise _Unclear("is no number of particles that the data set has; it has 8 or 16")
    return {"data": "jets-constituents", "constituents": int(match["many"])}


def _recipe(match: re.Match[str]) -> Fields:
    return {"recipe": (match["before"] or match["after"]).lower()}


def _part(match: re.Match[str]) -> Fields:
    text = match[0].lower()
    short = _squeezed(text)
    if short in _aliases():
        return {"part": _aliases()[short]}
    try:
        find_part(text)
    except ConfigError:
        near = nearest(short, _aliases())
        known = f"the nearest that it knows is {_aliases()[near]}" if near else "'weft validate' lists those it knows"
        raise _Unclear(f"is no part or board that weft knows; {known}") from None
    return {"part": text}


def _squeezed(text: str) -> str:
    return re.sub(r"[-\s]", "", text.lower())


@functools.cache
def _aliases() -> dict[str, str]:
    """Return parts and boards by their names without dashes, spaces and prefixes such as xc and alveo."""
    found = {_squeezed(name).removeprefix("alveo"): name for name in BOARDS}
    found |= {_squeezed(name): name for name in (*BOARDS, *PARTS)}
    return found | {name.removeprefix("xc"): name for name in PARTS if name.startswith("xc")}


def _constant(**fields: Any) -> Reader:
    return lambda match: fields


@functools.cache
def _phrases() -> tuple[tuple[re.Pattern[str], Reader], ...]:
    """Return the phrases: a pattern, matched where a word begins, and its reader."""
    jets = (
        r"jets?[- ](?:tagging|tagger|classification|classifier|substructure(?: classification)?)|(?:tag|classify) jets"
    )
    particles = r"(?:constituents?|particles)"
    suffixes = "|".join(sorted((suffix[1:] for suffix in READERS), key=len, reverse=True))
    names = "|".join(sorted((re.escape(name) for name in (*BASE_RECIPES, *recipes())), key=len, reverse=True))
    exact = "|".join(sorted(map(_spelled, (*_aliases(), *BOARDS, *PARTS)), key=len, reverse=True))
    like = (
        r"(?:xc|lfe5|ice40|zcu|vcu|kcu|vck|zc|vu|ku|zu|kv|ultra|alveo[- ]?u?|rfsoc[- ]?|(?:pynq|arty|nexys|zybo)[- ])"
    )
    like += r"\w*\d[\w-]*"
    about = r"(?: (?:of|per) (?:a |each )?jets?)?"
    cycles = r"(?:clock[- ])?cycles?"
    table: list[tuple[str, Reader]] = [
        (r"qubit[- ](?:state[- ])?(?:readout|read-out|discrimination)|read-?out of (?:a |the )?qubits?",
         _constant(data="qubit-readout")),
        (rf"{jets}|jets-hlf", _constant(data="jets-hlf")),
        (rf"(?:(?:{jets}) (?:from|with|on|of) (?:the |their |its )?)?"
         rf"(?:(?P<many>\d+) )?(?:hardest )?(?:jet[- ])?{particles}{about}|jets-constituents", _jets),
        (r"openml[: ]\s*(?P<many>[1-9]\d*)", lambda match: {"data": f"openml:{match['many']}"}),
        (rf"'(?P<single>[^']+\.(?:{suffixes}))'|\"(?P<double>[^\"]+\.(?:{suffixes}))\"|(?P<bare>[^\s'\",;]+\.(?:{suffixes}))",
         lambda match: {"files": match["single"] or match["double"] or match["bare"]}),
        (rf"(?:label|target) column(?: (?:is|called|named)\b)?\s*[=:]?\s*{_NAME}", _label),
        (rf"label(?: (?:is|called|named)\b)?\s*[=:]?\s*{_NAME}", _label),
        (r"predict(?:ing)? (?:the )?(?:column )?(?:'(?P<single>[^']+)'|\"(?P<double>[^\"]+)\")", _label),
        (r"regression|regress", _constant(task="regression")),
        (r"binary(?: classification| classifier)?", _constant(task="binary")),
        (r"(?:multi-?class )?classif(?:ication|ier|y)", _constant(task="classification")),
        (exact, _part),
        (like, _part),
        (rf"(?P<what>{_LATENCY}){_LINK}{_BOUND}{_NUMBER}\s*{_TIME}{_AFTER}", _latency),
        (rf"{_BOUND}{_NUMBER}\s*{_TIME}(?:\s+(?P<what>{_LATENCY}))?{_AFTER}(?:\s+(?P<what_after>{_LATENCY}))?",
         _latency),
        (rf"(?:(?:{_LATENCY}){_LINK})?{_BOUND}{_COUNT}\s*{cycles}(?:\s+(?:of )?(?:{_LATENCY}))?{_AFTER}", _cycles),
        (rf"(?:II|initiation interval){_LINK}{_BOUND}{_COUNT}(?:\s*{cycles})?{_AFTER}", _interval),
        (rf"{_CLOCK}{_LINK}{_BOUND}{_NUMBER}\s*{_TIME}", _period),
        (rf"{_BOUND}{_NUMBER}\s*{_TIME}\s+{_CLOCK}", _period),
        (rf"(?:{_CLOCK}{_LINK})?{_BOUND}{_NUMBER}\s*(?P<hz>[kKmMgG]Hz)(?:\s+{_CLOCK})?{_AFTER}", _frequency),
        *((form, functools.partial(_resource, name)) for name, word in _NAMES.items() for form in (
            rf"{_BOUND}{_COUNT}\s*(?:{word}){_AFTER}",
            rf"{_BOUND}{_NUMBER}\s*(?P<percent>%|per ?cent)\s*(?:of )?(?:the |its |all )?(?:{word}){_AFTER}",
            rf"(?:{word}){_LINK}{_BOUND}{_NUMBER}\s*(?P<percent>%|per ?cent){_AFTER}",
            rf"(?:{word}){_LINK}{_BOUND}{_COUNT}{_AFTER}")),
        *((rf"(?:no|zero|without(?: any)?)\s+(?:{word})", functools.partial(_none_of, name))
          for name, word in _NAMES.items()),
        *((form, functools.partial(_floor, name)) for name, word in _METRICS.items() for form in (
            rf"(?:{word}){_LINK}{_BOUND}{_NUMBER}\s*(?P<percent>%|per ?cent)?{_AFTER}",
            rf"{_BOUND}{_NUMBER}\s*(?P<percent>%|per ?cent)?\s*(?:{word}){_AFTER}")),
        *((rf"{_BOUND}{_COUNT}\s*(?:{word})", functools.partial(_effort, name)) for name, word in (
            ("trials", r"trials?|candidates?"), ("epochs", r"(?:search |training )?epochs?"))),
        (rf"{_BOUND}{_NUMBER}\s*(?P<span>min|minutes?|h|hours?)(?:\s+(?:of )?search(?:ing)?)?", _minutes),
        (rf"recipe\s*[=:]?\s*(?P<before>{names})|(?P<after>{names}) (?:recipe|compression|pruning)", _recipe),
        (r"quick (?:run|search|test|try|look|trial)|first look", _constant(quick=True)),
    ]  # fmt: skip
    return tuple((re.compile(rf"(?:{pattern})(?![\w%])", re.IGNORECASE), reader) for pattern, reader in table)


def _spelled(name: str) -> str:
    """Return a pattern for a name in which dashes may be spaces, or nothing."""
    parts = re.findall(r"[a-z]+|\d+|\W", name)
    return "".join(r"[-\s]?" if part in "-" else re.escape(part) for part in parts)


# ---- cutting

_FILLERS = frozenset(
    "a an the and for on in with using at to of by from it its is be must should shall has have need needs want wants "
    "would like i we my our us me please give find make build design draft create run running runs network networks "
    "model models neural net nn fpga part board device chip that which this as well also so there data set dataset "
    "file classify classifier use uses used onto into target targeting".split()
)
"""Words that change nothing; none may bound, negate or qualify."""

_NEGATIONS = frozenset(
    "not no without except unless avoid never neither nor instead rather don't between any anything".split()
)

_VAGUE = {
    "how fast, as 'under 100 ns' or 'at 200 MHz'": "fast faster fastest quick quickly real-time low-latency",
    "how small, as 'at most 5k LUT'": "small smaller smallest tiny cheap compact little lightweight efficient",
    "how accurate, as 'accuracy >= 72 %'": "accurate best good better precise high-accuracy",
}
_ADVICE = {word: advice for advice, words in _VAGUE.items() for word in words.split()}

_WORD = re.compile(r"[^\s,;()]+")
_STOP = re.compile(r"[,;()]|[.:!?…–—-]+(?=\s|$)|[\"'“”‘’](?=\s|$)")


def _pieces(text: str, notes: list[str]) -> Iterator[_Piece]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        matches = [(match, reader) for pattern, reader in _phrases() if (match := pattern.match(text, at))]
        if matches:
            match, reader = max(matches, key=lambda pair: pair[0].end())
            try:
                yield _Piece(at, match.end(), "phrase", reader(match))
            except _Unclear as reason:
                notes.append(f"'{match[0]}' {reason}")
                yield _Piece(at, match.end(), "unclear", {})
            at = match.end()
            continue
        if stop := _STOP.match(text, at):
            yield _Piece(at, stop.end(), "stop", {})
            at = stop.end()
            continue
        word = _WORD.match(text, at)
        assert word is not None
        bare = word[0].rstrip(".:!?…\"'“”‘’") or word[0]
        lower = bare.lower()
        kind = "filler" if lower in _FILLERS else "or" if lower in ("or", "/") else "word"
        if lower in _NEGATIONS or (kind == "word" and bare[0].isdigit()):
            kind = "negation"  # a number that belongs to nothing belongs to what follows: "10 to 20 ns"
        if lower in _ADVICE:
            notes.append(f"'{bare}': say {_ADVICE[lower]}")
        yield _Piece(at, at + len(bare), kind, {})
        at += len(bare)


def _negations(pieces: list[_Piece], text: str, notes: list[str]) -> None:
    """Take the fields from phrases that are negated, one of several, or an end of a range."""
    for i, piece in enumerate(pieces):
        word = text[piece.start : piece.end].lower()
        behind = [other for other in pieces[i + 1 :] if other.kind != "filler"][: 2 if word == "between" else 1]
        before = [other for other in pieces[:i] if other.kind != "filler"][-1:]
        if word == "to" and [text[other.start].isdigit() for other in (*before, *behind)] == [True, True]:
            piece.kind = "or"
        if piece.kind not in ("negation", "or"):
            continue
        for other in (*behind, *(before if piece.kind == "or" else ())):
            if other.kind == "phrase":
                other.kind = "unclear"
                notes.append(
                    f"'{text[other.start : other.end]}' is not read, because of '{text[piece.start : piece.end]}'"
                )
        piece.kind = "unclear" if piece.kind == "or" else "word"


def _agreed(pieces: list[_Piece], text: str, notes: list[str]) -> Fields:
    """Return the fields of all phrases; phrases that differ about one set nothing."""
    phrases = [piece for piece in pieces if piece.kind == "phrase"]
    owned = [piece for piece in phrases if "files" in piece.fields]
    for piece in phrases:
        if owned and "data" in piece.fields:
            piece.kind = "unclear"
            notes.append(f"'{text[piece.start : piece.end]}' is not read: the data are those of the file")
    for one, other in itertools.combinations([piece for piece in phrases if piece.kind == "phrase"], 2):
        if any(_differ(name, one.fields[name], other.fields[name]) for name in one.fields.keys() & other.fields):
            notes.append(
                f"'{text[one.start : one.end]}' and '{text[other.start : other.end]}' say different things; keep one"
            )
            one.kind = other.kind = "unclear"
    fields: Fields = {}
    for piece in phrases:
        if piece.kind == "phrase":
            fields = {**piece.fields, **fields}
    if fields.get("data") == "jets-hlf":
        notes.append("jets are read as the data set jets-hlf; say 'jet constituents' for jets-constituents")
    return fields


def _differ(name: str, one: Any, other: Any) -> bool:
    if name == "part":
        return find_part(one).device != find_part(other).device
    return one != other


def _left(pieces: list[_Piece], text: str) -> Iterator[str]:
    """Return what was not read, neighbours together."""
    reported = [piece for piece in pieces if piece.kind in ("word", "unclear")]
    at = 0
    while at < len(reported):
        last = at
        while last + 1 < len(reported) and not text[reported[last].end : reported[last + 1].start].strip():
            last += 1
        yield text[reported[at].start : reported[last].end]
        at = last + 1
