"""How a run goes: a bar, lines of a log, a log for programs."""
