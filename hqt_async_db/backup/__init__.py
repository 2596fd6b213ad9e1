"""Backup, restore, export, import and copy: verified, streaming, one snapshot each."""

from hqt_async_db.backup.backups import create_backup
from hqt_async_db.backup.copying import CopyResult, copy_database
from hqt_async_db.backup.database_backup import DatabaseBackup
from hqt_async_db.backup.progress import Progress, ProgressCallback
from hqt_async_db.backup.prune import prune_backups
from hqt_async_db.backup.restore import RestoredBackup
from hqt_async_db.backup.verify import VerifiedBackup, verify_backup

__all__ = [
    "CopyResult",
    "DatabaseBackup",
    "Progress",
    "ProgressCallback",
    "RestoredBackup",
    "VerifiedBackup",
    "copy_database",
    "create_backup",
    "prune_backups",
    "verify_backup",
]
