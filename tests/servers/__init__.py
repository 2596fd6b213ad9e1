"""Real PostgreSQL and MariaDB servers, started and stopped by the tests themselves.

Every server listens on a free port of the loopback interface, keeps its files
in a temporary directory, asks for a password, and ends with the process that
started it, however that process ends. No service of the machine is touched.
"""
