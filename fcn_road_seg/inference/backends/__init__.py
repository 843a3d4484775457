"""The libraries that run the network on a CPU."""
