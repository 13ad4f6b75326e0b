"""Reading of objects in S3, Google Cloud Storage, and Azure Blob Storage, by a helper process of each store."""
