"""The subcommands of ``gamecraft``, one module each."""
