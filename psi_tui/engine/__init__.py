"""The engine from outside: child processes that are asked, followed and started."""
