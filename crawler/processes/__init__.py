"""Several engines as processes of one machine, under a supervisor that restarts what dies and ends what hangs.

The supervisor starts each engine anew from the command line, never by fork: a forked child would hold its parent's
locks. Between the two runs one socket. The engine is told its `Role` first, and says what becomes of it in messages,
one JSON object a line; when the socket closes, the other one is gone.

spawn       a process begins, before all else is imported
engine      how the supervisor has it            supervisor   all of them
messages    what is said on the line             child        the engine's end of it
"""
