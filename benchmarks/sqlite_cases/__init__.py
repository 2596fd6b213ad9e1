"""The cases of the suite ``sqlite``."""
