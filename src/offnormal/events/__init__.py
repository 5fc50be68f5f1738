"""When scores become events: pure state machines on (time, score), numpy and the standard library alone."""
