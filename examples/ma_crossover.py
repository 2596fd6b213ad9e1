"""Research and paper-trade a moving-average crossover, stored in a database.

    python examples/ma_crossover.py
    python examples/ma_crossover.py --url postgresql://user:password@host/database

The candles are real: a year of hourly EURUSD prices. The example backtests a
first guess, tries a grid of parameters, backtests the best one, and lets a
bot trade it on paper over the newest candles, which research never saw.
Everything is stored through the repositories; a second run replaces the
research and adds nothing else. The parts are in ``examples/crossover``:

    demo.py                   the order of all this, and the command line
    research.py, metrics.py   the backtests, in worker processes
    storing.py                research into the database
    trader.py, paper.py       the bot and those who watch it
    report.py, picture.py     tables and equity.png, read back from the database
"""

import sys

if __name__ == "__main__":  # worker processes import this file, too, and need no more of it
    from crossover.demo import main

    sys.exit(main())
