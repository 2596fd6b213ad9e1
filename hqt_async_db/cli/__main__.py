"""``python -m hqt_async_db.cli`` is ``hqt-db``."""

from hqt_async_db.cli import main

if __name__ == "__main__":
    main()
