"""PostgreSQL: past SQLAlchemy with asyncpg, and a COMMIT that tells the truth."""
