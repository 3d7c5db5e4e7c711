"""Reporting an analysis: HTML, Markdown, spreadsheets and charts."""
