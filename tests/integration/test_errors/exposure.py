"""What of an exception a log, a console or a debugger would show."""

from __future__ import annotations

import traceback

SECRET = "Zq7-hidden-Zq7"


def shown(error: BaseException) -> str:
    """Return every text of the exception and of all it leads to."""
    texts = ["".join(traceback.format_exception(error))]
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        link = pending.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        texts += [str(link), repr(link), repr(link.args)]
        texts += getattr(link, "__notes__", ())
        pending += [other for other in (link.__cause__, link.__context__) if other is not None]
    return "\n".join(texts)
