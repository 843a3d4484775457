"""Many bags: found, segmented by several processes or machines, each once."""
