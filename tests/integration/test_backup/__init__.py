"""Backup, restore, export, import and copy."""
