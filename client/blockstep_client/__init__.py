"""The client: get and put, with a progress bar."""
