"""Sessions: one unit of work each, safe to cancel and to misuse."""
