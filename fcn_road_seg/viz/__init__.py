"""Sheets, plots and videos."""
