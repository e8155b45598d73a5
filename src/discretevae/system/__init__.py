"""Files, locks, processes, random numbers, precision: what the package asks of the machine."""
