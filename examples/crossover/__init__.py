"""The parts of the moving-average crossover example, one file each."""
