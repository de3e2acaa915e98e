"""Looks at both sides from outside: reads their source as text and runs them as programs."""
