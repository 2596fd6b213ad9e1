"""Column types: the same value in, the same value out, on every backend."""

from hqt_async_db.models.types.column import ColumnType
from hqt_async_db.models.types.json_column import JsonDict
from hqt_async_db.models.types.json_tracking import JsonArray, JsonObject
from hqt_async_db.models.types.money import Money
from hqt_async_db.models.types.numeric import Double, Flag, Int32, Int64, RowId
from hqt_async_db.models.types.text import Choice, ExactText, choice_check
from hqt_async_db.models.types.times import UtcDateTime, utc_now

__all__ = [
    "Choice",
    "ColumnType",
    "Double",
    "ExactText",
    "Flag",
    "Int32",
    "Int64",
    "JsonArray",
    "JsonDict",
    "JsonObject",
    "Money",
    "RowId",
    "UtcDateTime",
    "choice_check",
    "utc_now",
]
