"""JSON Schema: what checks schemas and answers, in processes of its own."""
