"""What a type checker must know; mypy reads these files, nothing runs them."""
