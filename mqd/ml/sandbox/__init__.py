"""A model file, and the process that holds it: limits, few system calls, no network, no keys."""
