"""HTTPS endpoint that takes progress reports from the pods of running steps and writes them to the status."""
