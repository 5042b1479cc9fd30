"""A gate for a method: judged against its own earlier values or another method, as a test or as a command."""
