"""Every verb of the repositories, through a session and through the manager."""
