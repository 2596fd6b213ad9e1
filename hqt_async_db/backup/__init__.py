"""Backup, restore, export, import and copy: verified, streaming, one snapshot each."""
