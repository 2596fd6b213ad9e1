"""The closed vocabularies of the models; members compare equal to plain str."""

from enum import StrEnum


class Direction(StrEnum):
    """Which way a position profits."""

    LONG = "long"
    SHORT = "short"


class RunStatus(StrEnum):
    """How far a backtest or an optimisation has come."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TradeStatus(StrEnum):
    """How far a live or paper position has come, in the order it happens.

    ``pending`` is an order that is written down and not yet sent; ``closing``
    one whose exit order is under way. The last three never became a position.
    """

    PENDING = "pending"
    SUBMITTED = "submitted"
    PARTIALLY_FILLED = "partially_filled"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"


class AccountMode(StrEnum):
    """What kind of money an account holds."""

    LIVE = "live"
    PAPER = "paper"
    BACKTEST = "backtest"


class NotificationLevel(StrEnum):
    """How much a notification matters."""

    DEBUG = "debug"
    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Theme(StrEnum):
    """Colours of the user interface."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"
