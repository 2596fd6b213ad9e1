"""Connections: the manager, its sessions, and what runs statements."""
