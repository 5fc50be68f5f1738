"""Turn scores into events: pure state machines on (time, score), with numpy and the standard library only."""
