"""Locust's CSV files with the last second of a test: Locust itself closes them without writing what came last."""

from __future__ import annotations

import time

from locust import stats


class FinalStatsWriter(stats.StatsCSVFileWriter):
    """Locust's writer of CSV files, which writes all of them once more before it closes them."""

    def close_files(self) -> None:
        """Write the final statistics, then close the files."""
        for file, write, writer in (
            (self.requests_csv_filehandle, self.requests_csv, self.requests_csv_writer),
            (self.failures_csv_filehandle, self.failures_csv, self.failures_csv_writer),
            (self.exceptions_csv_filehandle, self.exceptions_csv, self.exceptions_csv_writer),
        ):
            file.seek(0)
            write(writer)
            file.truncate()
        self._stats_history_data_rows(self.stats_history_csv_writer, time.time())
        super().close_files()


def install() -> None:
    """Let Locust's command line make this writer."""
    stats.StatsCSVFileWriter = FinalStatsWriter  # type: ignore[misc]  # Locust looks it up when it starts
