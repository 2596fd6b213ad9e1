"""What a backtest's figures mean, in the names and units of the models.

Percentages are in percent, money in dollars, durations in seconds. A figure
that is undefined (a profit factor without a loss) is None.
"""

from __future__ import annotations

import math
from itertools import accumulate
from statistics import NormalDist, fmean, stdev
from typing import Any

Figures = dict[str, float | None]

# Column of a backtest: its name in the statistics of the backtesting package.
_BACKTEST = {
    "final_capital": "Equity Final [$]",
    "peak_capital": "Equity Peak [$]",
    "commission": "Commissions [$]",
    "total_return": "Return [%]",
    "annual_return": "Return (Ann.) [%]",
    "buy_hold_return": "Buy & Hold Return [%]",
    "cagr": "CAGR [%]",
    "sharpe_ratio": "Sharpe Ratio",
    "sortino_ratio": "Sortino Ratio",
    "calmar_ratio": "Calmar Ratio",
    "alpha": "Alpha [%]",
    "beta": "Beta",
    "max_drawdown": "Max. Drawdown [%]",
    "avg_drawdown": "Avg. Drawdown [%]",
    "max_drawdown_duration_s": "Max. Drawdown Duration",
    "avg_drawdown_duration_s": "Avg. Drawdown Duration",
    "volatility": "Volatility (Ann.) [%]",
    "exposure": "Exposure Time [%]",
    "win_rate": "Win Rate [%]",
    "profit_factor": "Profit Factor",
    "best_trade_pct": "Best Trade [%]",
    "worst_trade_pct": "Worst Trade [%]",
    "avg_trade_pct": "Avg. Trade [%]",
    "max_trade_duration_s": "Max. Trade Duration",
    "avg_trade_duration_s": "Avg. Trade Duration",
    "sqn": "SQN",
    "kelly_criterion": "Kelly Criterion",
}
_SHARED = (  # columns that a backtest and its finance metric have in common
    *("total_return", "annual_return", "volatility", "sharpe_ratio", "sortino_ratio"),
    *("calmar_ratio", "max_drawdown", "alpha", "beta", "total_trades", "win_rate"),
    *("profit_factor", "expectancy", "avg_win", "avg_loss", "kelly_criterion", "sqn"),
)
_CONFIDENCE = 0.95


def of_backtest(stats: Any) -> Figures:
    """Return every metric of a backtest."""
    profits = [float(profit) for profit in stats["_trades"]["PnL"]]
    return {column: _number(stats[name]) for column, name in _BACKTEST.items()} | {
        "total_trades": len(profits),
        "winning_trades": sum(profit > 0 for profit in profits),
        "losing_trades": sum(profit < 0 for profit in profits),
        "expectancy": _mean(profits),
        "avg_win": _mean([profit for profit in profits if profit > 0]),
        "avg_loss": _mean([profit for profit in profits if profit < 0]),
    }


def of_finance(stats: Any) -> Figures:
    """Return the figures of a backtest's daily returns, beside the shared ones."""
    backtest = of_backtest(stats)
    curve = stats["_equity_curve"]
    daily_pct = curve["Equity"].resample("D").last().dropna().pct_change().dropna() * 100
    value_at_risk = daily_pct.quantile(1 - _CONFIDENCE)
    gains, losses = daily_pct.clip(lower=0).sum(), -daily_pct.clip(upper=0).sum()
    return {column: backtest[column] for column in _SHARED} | {
        "omega_ratio": _ratio(gains, losses),
        "recovery_factor": _ratio(stats["Return [%]"], -stats["Max. Drawdown [%]"]),
        "ulcer_index": _number(math.sqrt((curve["DrawdownPct"] ** 2).mean()) * 100),
        "value_at_risk": _number(value_at_risk),
        "conditional_value_at_risk": _number(daily_pct[daily_pct <= value_at_risk].mean()),
        "skewness": _number(daily_pct.skew()),
        "kurtosis": _number(daily_pct.kurt()),
    }


def of_edge(trades: list[dict[str, Any]]) -> Figures:
    """Return whether the trades earn more than chance would explain.

    The test of the mean profit against zero is two-sided and takes the
    profits as normally distributed. Needs two trades at least.
    """
    profits = [trade["profit"] for trade in trades]
    wins = [profit for profit in profits if profit > 0]
    losses = [-profit for profit in profits if profit < 0]
    mean, standard_error = fmean(profits), stdev(profits) / math.sqrt(len(profits))
    win_rate, payoff = len(wins) / len(profits), _ratio(_mean(wins), _mean(losses))
    t_statistic = mean / standard_error
    p_value = 2 * NormalDist().cdf(-abs(t_statistic))
    margin = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2) * standard_error
    return {
        "sample_size": len(profits),
        "expectancy": mean,
        "win_rate": win_rate * 100,
        "avg_win": _mean(wins),
        "avg_loss": _mean([-loss for loss in losses]),
        "payoff_ratio": payoff,
        "profit_factor": _ratio(math.fsum(wins), math.fsum(losses)),
        "edge_ratio": _ratio(
            fmean(trade["mfe"] for trade in trades), -fmean(trade["mae"] for trade in trades)
        ),
        "kelly_criterion": win_rate - (1 - win_rate) / payoff if payoff else None,
        "sqn": t_statistic,
        "t_statistic": t_statistic,
        "p_value": p_value,
        "confidence_low": mean - margin,
        "confidence_high": mean + margin,
        "is_significant": p_value < 1 - _CONFIDENCE,
    }


def of_account(equity: list[float], profits: list[float]) -> Figures:
    """Return the figures of an account from its curve and its closed trades."""
    wins = [profit for profit in profits if profit > 0]
    losses = [profit for profit in profits if profit < 0]
    return {
        "total_return": (equity[-1] / equity[0] - 1) * 100,
        "max_drawdown": min(drawdown_pct(equity)),
        "total_trades": len(profits),
        "win_rate": _ratio(len(wins) * 100, len(profits)),
        "profit_factor": _ratio(math.fsum(wins), -math.fsum(losses)),
        "expectancy": _mean(profits),
        "avg_win": _mean(wins),
        "avg_loss": _mean(losses),
    }


def drawdown_pct(equity: list[float]) -> list[float]:
    """Return the distance below the highest value so far, in per cent."""
    return [
        (now / peak - 1) * 100 for now, peak in zip(equity, accumulate(equity, max), strict=True)
    ]


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def _ratio(over: float | None, under: float | None) -> float | None:
    return _number(over / under) if over is not None and under else None


def _number(value: Any) -> float | None:
    """Return a plain float (numpy's fit no driver), None for undefined."""
    number = float(value.total_seconds() if hasattr(value, "total_seconds") else value)
    return number if math.isfinite(number) else None
