"""Contact sheets, plots and videos."""
