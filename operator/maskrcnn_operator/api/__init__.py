"""API of the resource: types, schema, manifests, rules, and reasons."""
