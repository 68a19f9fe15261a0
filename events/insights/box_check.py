"""The first wall around a stranger's SQL: one SELECT over the table `events`, of nothing but what is known to be harmless.

Every node of the tree that DuckDB's own parser made must be of a kind that is listed here; whatever else there is, is refused.
"""

from typing import Any, Final

import duckdb
import msgspec

from events.insights.box_functions import FUNCTIONS, OPERATORS, TABLE_FUNCTIONS, TYPES
from events.insights.errors import Invalid

TABLE: Final = "events"
_STATEMENT: Final = "SELECT json_serialize_sql($1::VARCHAR)"
_EXPRESSION_WORDS: Final = """
BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR POSITIONAL_REFERENCE STAR SUBQUERY
TYPE WINDOW
"""
_OTHER_WORDS: Final = """
SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE BASE_TABLE SUBQUERY JOIN TABLE_FUNCTION EXPRESSION_LIST EMPTY
LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER ORDER_MODIFIER DISTINCT_MODIFIER ASCENDING DESCENDING ORDER_DEFAULT
"""
_EXPRESSIONS: Final = frozenset(_EXPRESSION_WORDS.split())
_OTHERS: Final = frozenset(_OTHER_WORDS.split())
_SPOKEN: Final = {
    "PIVOT": "PIVOT and UNPIVOT are not offered: group instead, with count(*) FILTER (WHERE ...) for each column.",
    "SHOW_REF": "DESCRIBE, SHOW and SUMMARIZE are not offered: SELECT * FROM events LIMIT 1 shows the columns.",
    "PARAMETER": "Parameters are not offered: write the value.",
    "DEFAULT": "DEFAULT is not offered.",
}


def check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Errors: Invalid, which says what is not offered; duckdb.Error where it is not SQL."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise Invalid(f"One SELECT is expected, these are {len(statements)} statements.")
    try:
        statement_type = statements[0].type
    except ValueError:  # of a kind that DuckDB's Python has no name for
        raise Invalid("Only SELECT is offered.") from None
    if statement_type != duckdb.StatementType.SELECT:
        kind = str(statement_type).rpartition(".")[2].replace("_", " ")
        raise Invalid(_SPOKEN["PIVOT"] if kind == "MULTI" else f"Only SELECT is offered, not {kind}.")
    found = connection.execute(_STATEMENT, [sql]).fetchone()
    tree: dict[str, Any] = msgspec.json.decode(found[0]) if found else {"error": True}
    if tree.get("error"):
        text = str(tree.get("error_message", ""))
        raise Invalid(_SPOKEN["PIVOT"] if "Only SELECT" in text else text or "This is not offered.")
    try:
        for statement in tree["statements"]:
            _walk(statement["node"], frozenset())
            if statement.get("named_param_map"):
                raise Invalid(_SPOKEN["PARAMETER"])
    except RecursionError:
        raise Invalid("This is nested too deeply.") from None


def _walk(node: Any, tables: frozenset[str]) -> None:
    """`tables`: the names of WITH that can be seen here, in small letters."""
    if isinstance(node, list):
        for item in node:
            _walk(item, tables)
        return
    if not isinstance(node, dict):
        return
    _refuse(node, tables)
    for entry in (node.get("cte_map") or {}).get("map", ()):
        # One by one: a name is not to be seen before it is defined, for what stands there then is of the catalog.
        name, value = entry["key"].lower(), entry["value"]
        recursive = (value.get("query_node") or value.get("query", {}).get("node", {})).get(
            "type"
        ) == "RECURSIVE_CTE_NODE"
        _walk(value, tables | {name} if recursive else tables)
        tables = tables | {name}
    for key, child in node.items():
        if key == "function" and node.get("type") == "TABLE_FUNCTION":
            _walk(child["arguments"], tables)  # its name is of another list, and was looked up there
        elif key != "cte_map":
            _walk(child, tables)


def _refuse(node: dict[str, Any], tables: frozenset[str]) -> None:
    if "class" in node:
        _refuse_expression(node)
        return
    kind = node.get("type")
    if not isinstance(kind, str):  # no node of the tree: a part of one, or a value with its type
        return
    if kind not in _OTHERS:
        raise Invalid(_SPOKEN.get(kind, f"{kind.replace('_', ' ')} is not offered."))
    if kind == "BASE_TABLE":
        _refuse_qualified(node, "schema_name", "catalog_name", name=str(node["table_name"]))
        if node["table_name"].lower() not in tables | {TABLE}:
            raise Invalid(
                f"There is one table, {TABLE}, and those that WITH defines; {node['table_name']!r} is none."
            )
    if kind == "TABLE_FUNCTION":
        function = node["function"]
        name = str(function.get("function_name"))
        if function.get("class") != "FUNCTION" or name.lower() not in TABLE_FUNCTIONS:
            raise Invalid(f"The table function {name} is not offered.")
        _refuse_qualified(function, "schema", "catalog", name=name)


def _refuse_expression(node: dict[str, Any]) -> None:
    kind = node["class"]
    if kind not in _EXPRESSIONS:
        raise Invalid(_SPOKEN.get(str(kind), f"{str(kind).replace('_', ' ')} is not offered."))
    if kind in ("FUNCTION", "WINDOW"):
        name = str(node["function_name"])
        _refuse_qualified(node, "schema", "catalog", name=name)
        if name.lower() not in FUNCTIONS and name not in OPERATORS:
            raise Invalid(f"The function {name} is not offered.")
    if kind == "TYPE":
        name = str(node["type_name"])
        _refuse_qualified(node, "schema", "catalog", name=name)
        if name.lower() not in TYPES:
            raise Invalid(f"The type {name} is not offered.")


def _refuse_qualified(node: dict[str, Any], *keys: str, name: str) -> None:
    path = (node.get("qualified_name") or {}).get("path", [name])
    if any(node.get(key) for key in keys) or len(path) > 1:
        raise Invalid(f"{name} is to be written without a schema.")
