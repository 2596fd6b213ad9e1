"""The cases of the suite ``bulk``."""
