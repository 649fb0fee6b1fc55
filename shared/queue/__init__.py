"""The queue: a state machine whose truth is in Redis and whose transitions are single Lua scripts.

states.py     the states, their transitions and what they are called on the wire
records.py    what goes into a transition and comes out of it
keys.py       every key in Redis: pattern, type, lifetime, who deletes it
commands.py   one pure function per transition -> Command
execute.py    the only two functions that talk to Redis on behalf of a command
lua/          the transitions themselves, one file per verb
"""
