"""Drawing of a report as one self-contained HTML text: a pure function of its content."""
