"""The action language in a few lines, for the help of commands that take a script."""

__all__ = ["SCRIPT_HELP"]

SCRIPT_HELP = (
    "keys and durations, separated by commas, such as "
    '"w 2s, w+d 10f, look:right 45deg over 1s, 3x(left 1s, w 1s)": w a s d space ctrl move, '
    "left right up down turn, idle waits; s is seconds and f frames (docs/playing.md has all of it)"
)
