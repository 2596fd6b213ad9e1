"""What a SELECT may do beside reading tables."""

from __future__ import annotations

import re
from typing import Final

# Functions whose value depends on their arguments alone. Others may take a number out
# of a sequence, take a lock, or ask what the transaction has set.
_FUNCTIONS: Final = frozenset({
    "abs", "acos", "asin", "atan", "atan2", "avg", "ceil", "ceiling", "coalesce", "concat",
    "cos", "count", "cume_dist", "dense_rank", "exp", "first_value", "floor", "greatest",
    "group_concat", "json_array_length", "json_extract", "json_group_array", "json_group_object",
    "json_quote", "json_type", "json_unquote", "jsonb_array_length", "lag", "last_value", "lead",
    "least", "left", "length", "ln", "log", "lower", "ltrim", "max", "min", "mod", "ntile",
    "nullif", "percent_rank", "pow", "power", "radians", "rank", "replace", "reverse", "right",
    "round", "row_number", "rtrim", "sign", "sin", "sqrt", "stddev", "stddev_pop", "stddev_samp",
    "string_agg", "substr", "substring", "sum", "tan", "total", "trim", "upper", "var_pop",
    "var_samp", "variance",
})  # fmt: skip
# What comes before parentheses and is no function.
_KEYWORDS: Final = frozenset({
    "all", "and", "any", "array", "as", "between", "by", "case", "cast", "char", "character",
    "datetime", "decimal", "distinct", "double", "else", "end", "except", "exists", "filter",
    "from", "group", "having", "in", "intersect", "is", "join", "like", "limit", "materialized",
    "not", "numeric", "offset", "on", "or", "over", "partition", "range", "recursive", "rows",
    "select", "some", "then", "time", "timestamp", "union", "values", "varchar", "when", "where",
    "with",
})  # fmt: skip
_CALL: Final = re.compile(r"([^\s()+\-*/%<>=!|&^~,;:]+)\s*\(")
# Writes in a WITH, locks, MySQL's variables and sequences that are asked without parentheses.
_EFFECT: Final = re.compile(
    r"\b(?:INSERT|UPDATE|DELETE|MERGE|INTO|SHARE|NEXT\s+VALUE|PREVIOUS\s+VALUE)\b|@\w|:=",
    re.IGNORECASE,
)


def only_reads(sql: str) -> bool:
    """Tell whether a SELECT is known to do no more than to read tables.

    A false no costs time only.
    """
    called = {name.lower() for name in _CALL.findall(sql)}
    return called - _FUNCTIONS <= _KEYWORDS and _EFFECT.search(sql) is None
