"""Backup, restore, export, import and copy: verified, streaming, one snapshot each."""

from hqt_async_db.backup.database_backup import DatabaseBackup
from hqt_async_db.backup.progress import Progress, ProgressCallback

__all__ = ["DatabaseBackup", "Progress", "ProgressCallback"]
