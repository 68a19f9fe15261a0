"""How large and how costly a schema may be: it is held against every event of its name, in processes that all projects share."""

from typing import Any, Final

import msgspec

MAX_BYTES: Final = 16_000
MAX_DEPTH: Final = 24
MAX_WEIGHT: Final = 1_000  # subschemas, each counted as often as it is referred to
# The same below what is applied to every element of an array or object: an event can have half a million of them.
MAX_ELEMENT_WEIGHT: Final = 60
MAX_PATTERN: Final = 500
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_OF_ELEMENTS: Final = (
    "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_ONE: Final = ("not", "if", "then", "else", *_OF_ELEMENTS)
_SEVERAL: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "dependentSchemas")
# Each lets a schema reach beyond itself, or mean something else than it says where it is read.
_REFUSED: Final = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary")


class BadSchema(Exception):
    """A schema that is none, or that may not be: `place` like schema.properties.amount, and why."""

    def __init__(self, place: str, detail: str) -> None:
        super().__init__(detail)
        self.place, self.detail = place, detail


def look_at(schema: Any) -> None:
    """Takes a schema as values. Raises BadSchema where it is larger, deeper or costlier than one may be, or reaches outside."""
    if not isinstance(schema, dict):
        raise BadSchema("schema", "It must be an object.")
    try:
        _look_within(schema, "schema", 0)
        size = len(msgspec.json.encode(schema))
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadSchema("schema", f"It is no JSON: {error}.") from None
    if size > MAX_BYTES:
        raise BadSchema("schema", f"It has {size} bytes; at most {MAX_BYTES} are taken.")
    if schema.get("$schema", DIALECT) not in (DIALECT, f"{DIALECT}#"):
        raise BadSchema("schema.$schema", f"Only {DIALECT} is known.")
    weight = _Weigher(schema).weight(schema, "schema", ())
    if weight > MAX_WEIGHT:
        raise BadSchema("schema", f"It comes to {weight} subschemas; at most {MAX_WEIGHT} are taken.")


def _look_within(value: Any, place: str, depth: int) -> None:
    """Whatever stands anywhere in it, known keyword or not."""
    if depth > MAX_DEPTH:
        raise BadSchema(place[:200], f"It nests deeper than {MAX_DEPTH} levels.")
    if isinstance(value, dict):
        for key, item in value.items():
            _look_at_letters(key, place)
            _look_within(item, f"{place}.{key}", depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _look_within(item, f"{place}.{number}", depth + 1)
    elif isinstance(value, str):
        _look_at_letters(value, place)


def _look_at_letters(text: str, place: str) -> None:
    """What an error would repeat, and a database could not hold."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise BadSchema(
            place.encode(errors="replace").decode()[:200], "It holds a NUL or half a surrogate pair."
        )


class _Weigher:
    """Counts the subschemas that one event is held against."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._known: dict[str, int] = {}

    def weight(self, node: Any, place: str, trail: tuple[str, ...]) -> int:
        """`trail`: the references that led here; one that comes again would never end."""
        if not isinstance(node, dict):
            return 1
        for keyword in _REFUSED:
            if keyword in node:
                raise BadSchema(f"{place}.{keyword}", f"{keyword} is not taken here.")
        self._look_at_text(node, place)
        total = 1 + _compared(node)
        if "$ref" in node:
            total += self._referred(node["$ref"], f"{place}.$ref", trail)
        for keyword in _ONE:
            if keyword in node:
                own = self.weight(node[keyword], f"{place}.{keyword}", trail)
                if keyword in _OF_ELEMENTS:
                    _look_at_elements(own, f"{place}.{keyword}")
                total += own
        for keyword in _SEVERAL:
            if isinstance(node.get(keyword), list):
                for number, item in enumerate(node[keyword]):
                    total += self.weight(item, f"{place}.{keyword}.{number}", trail)
        for keyword in _NAMED:
            if isinstance(node.get(keyword), dict):
                for name, item in node[keyword].items():
                    own = self.weight(item, f"{place}.{keyword}.{name}", trail)
                    if keyword == "patternProperties":
                        _look_at_elements(own * len(node[keyword]), f"{place}.{keyword}")
                    total += own
        return min(total, MAX_WEIGHT + 1)

    def _referred(self, reference: Any, place: str, trail: tuple[str, ...]) -> int:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise BadSchema(place, "A reference must lead to a place in this schema, like #/$defs/address.")
        if reference in trail:
            raise BadSchema(place, "It leads back to itself.")
        if reference not in self._known:
            node: Any = self._root
            for step in reference[2:].split("/"):
                key = step.replace("~1", "/").replace("~0", "~")
                if not isinstance(node, dict) or key not in node:
                    raise BadSchema(place, f"There is no {reference}.")
                node = node[key]
            self._known[reference] = self.weight(node, place, (*trail, reference))
        return self._known[reference]

    def _look_at_text(self, node: dict[str, Any], place: str) -> None:
        named = node.get("patternProperties")
        patterns = [*named] if isinstance(named, dict) else []
        for pattern in [*patterns, node.get("pattern")]:
            if isinstance(pattern, str) and len(pattern) > MAX_PATTERN:
                raise BadSchema(f"{place}.pattern", f"A pattern may have {MAX_PATTERN} characters.")


def _compared(node: dict[str, Any]) -> int:
    """What is gone through one by one: 1,000 of them for each element of an array took 5 s. Choices of one type are looked up."""
    compared = len(node["dependentRequired"]) if isinstance(node.get("dependentRequired"), dict) else 0
    if isinstance(choices := node.get("enum"), list):
        types = set(map(type, choices)) - {bool, type(None)}
        is_looked_up = types in (set(), {str}) or types <= {int, float}
        compared += 0 if is_looked_up else len(choices)
    return compared


def _look_at_elements(weight: int, place: str) -> None:
    if weight > MAX_ELEMENT_WEIGHT:
        detail = f"It comes to {weight} subschemas for each element; at most {MAX_ELEMENT_WEIGHT} are taken."
        raise BadSchema(place, detail)
