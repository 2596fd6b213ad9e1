"""What SQLite can do beyond what the suite takes for granted, and what it cannot."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

_SUPPORTED: Final = (
    # Tables and views
    "computed_columns",
    "computed_columns_stored",
    "computed_columns_virtual",
    "create_table_as",
    "create_temp_table_as",
    "expression_server_defaults",
    "has_temp_table",
    "index_ddl_if_exists",
    "indexes_with_expressions",
    "percent_schema_names",
    "server_defaults",
    "table_ddl_if_exists",
    "temp_table_names",
    "temporary_views",
    "unicode_ddl",
    "views",
    # Reflection
    "check_constraint_reflection",
    "computed_columns_reflect_persisted",
    "fk_constraint_option_reflection_ondelete_noaction",
    "fk_constraint_option_reflection_ondelete_restrict",
    "fk_constraint_option_reflection_onupdate_restrict",
    "foreign_key_constraint_name_reflection",
    "foreign_key_constraint_option_reflection_ondelete",
    "foreign_key_constraint_option_reflection_onupdate",
    "inline_check_constraint_reflection",
    "reflect_table_options",
    "reflects_pk_names",
    # Queries
    "ctes",
    "ctes_with_update_delete",
    "ctes_with_values",
    "dbapi_lastrowid",
    "regexp_match",
    "supports_bitwise_and",
    "supports_bitwise_not",
    "supports_bitwise_or",
    "supports_bitwise_shift",
    "supports_bitwise_xor",
    "tuple_in",
    "update_from",
    "window_functions",
    "window_range",
    "window_range_numeric",
    # Types
    "date_historic",
    "datetime_historic",
    "float_or_double_precision_behaves_generically",
    "infinity_floats",
    "json_type",
    "legacy_unconditional_json_extract",
    "nvarchar_types",
    "precision_numerics_retains_significant_digits",
    "timestamp_microseconds",
    "uuid_data_type",
    # Transactions
    "autocommit",
    "isolation_level",
    "savepoints",
    "skip_autocommit_rollback",
)

_UNSUPPORTED: Final = (
    "implicitly_named_constraints",
    "parens_in_union_contained_select_w_limit_offset",
    "parens_in_union_contained_select_wo_limit_offset",
)


class Requirements(SuiteRequirements):
    """SQLite's abilities, the same for every driver of it."""

    def get_order_by_collation(self, config: Any) -> str:
        """Return a collation to sort by."""
        del config
        return "NOCASE"


def _answer(name: str, answer: Any) -> None:
    """Answer one of the suite's questions; a name it does not ask is an error."""
    getattr(SuiteRequirements, name)
    setattr(Requirements, name, property(lambda _: answer()))


for _name in _SUPPORTED:
    _answer(_name, exclusions.open)
for _name in _UNSUPPORTED:
    _answer(_name, exclusions.closed)
