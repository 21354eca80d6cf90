"""Models beside a desk: the process, its log, what came of it, and the log against bars."""
