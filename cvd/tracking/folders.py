"""MLflow keeps full paths; these follow a project's folder."""

import sqlite3
from contextlib import closing
from pathlib import Path

from cvd.tracking.probes import LOCK_S


def follow_artifacts(database: Path, place: str, experiment: str) -> None:
    """Lets a database that was moved or copied with its folder find the artifacts beside it: MLflow keeps full paths.

    Args:
        database: the sqlite file.
        place: the address of the artifacts' folder now.
        experiment: whose artifacts they are.
    """
    columns = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
    with closing(sqlite3.connect(database, timeout=LOCK_S)) as connection, connection:
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        old = next((row[0] for row in connection.execute(query, (experiment,))), None)
        if old is None or old == place or not old.endswith("/mlartifacts"):
            return
        for table, column in columns:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
                (place, len(old) + 1, len(old) + 1, f"{old}/"),
            )
